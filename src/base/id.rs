//! Dense indices into the tables of one snapshot. An id never outlives the snapshot that gave it.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in its table.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of the table entry at `index`; tables are bounded far below `u32::MAX`.
            #[inline]
            pub fn at(index: usize) -> Self {
                debug_assert!(index < u32::MAX as usize, "tables are bounded at compile time");
                Self(index as u32)
            }
        }
    )*};
}

ids! {
    /// A listener of the snapshot.
    ListenerId,
    /// A route of the snapshot.
    RouteId,
    /// An upstream of the snapshot.
    UpstreamId,
    /// An endpoint within its upstream.
    EndpointId,
}
