//! Tidegate: an API gateway and edge proxy on io_uring.
