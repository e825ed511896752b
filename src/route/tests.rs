//! The rules of precedence one by one, and the index against the rules spelt out.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::base::RouteId;
use crate::http::Span;
use crate::http::header::{Field, Fields, HeaderName, KnownName};

/// A request in the making.
#[derive(Clone, Debug, Default)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: String,
    lines: Vec<(String, String)>,
}

fn get(host: &str, path: &str) -> Request {
    Request { host: host.into(), path: path.into(), method: "GET".into(), ..Request::default() }
}

impl Request {
    fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    fn query(mut self, query: &str) -> Self {
        self.query = Some(query.into());
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.lines.push((name.into(), value.into()));
        self
    }

    fn with<T>(&self, run: impl FnOnce(&Subject<'_>) -> T) -> T {
        let mut bytes = Vec::new();
        let mut fields = Fields::default();
        for (name, value) in &self.lines {
            let start = bytes.len();
            bytes.extend_from_slice(name.as_bytes());
            let name = Span::new(start, bytes.len());
            bytes.extend_from_slice(value.as_bytes());
            let value = Span::new(name.end as usize, bytes.len());
            let known = KnownName::of(name.of(&bytes));
            fields.push(Field { name, value, known, canonical: false });
        }
        run(&Subject {
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_ref().map(String::as_bytes),
            known_method: crate::http::Method::of(self.method.as_bytes()),
            method: self.method.as_bytes(),
            fields: &fields,
            bytes: &bytes,
        })
    }
}

/// A route in the making, with the path as text: `~` before a regex, `^` before a prefix.
fn route(path: &str) -> RouteSpec {
    let path = match (path.strip_prefix('~'), path.strip_prefix('^')) {
        (Some(regex), _) => PathPattern::regex(regex),
        (_, Some(prefix)) => PathPattern::prefix(prefix),
        _ => PathPattern::parse(path),
    };
    let path = path.expect("a valid path");
    RouteSpec { id: RouteId(0), hosts: vec![], path, methods: vec![], headers: vec![], queries: vec![] }
}

impl RouteSpec {
    fn host(mut self, host: &str) -> Self {
        self.hosts.push(HostPattern::parse(host).expect("a valid host"));
        self
    }

    fn on(mut self, method: &str) -> Self {
        self.methods.push(method.into());
        self
    }

    fn field(mut self, name: &str, matcher: Matcher) -> Self {
        self.headers.push(FieldPredicate { name: HeaderName::parse(name).expect("a token"), matcher });
        self
    }

    fn parameter(mut self, name: &str, matcher: Matcher) -> Self {
        self.queries.push(QueryPredicate { name: name.into(), matcher });
        self
    }
}

fn exactly(value: &str) -> Matcher {
    Matcher::Exact(value.as_bytes().into())
}

fn matching(text: &str) -> Matcher {
    Matcher::Regex(FullRegex::parse(text).expect("a valid regex"))
}

/// A table of these routes, numbered from 0.
fn table(routes: impl IntoIterator<Item = RouteSpec>) -> Table {
    let numbered = routes.into_iter().enumerate().map(|(order, route)| RouteSpec { id: RouteId::at(order), ..route });
    Table::build(numbered.collect())
}

/// The number of the route that answers. The explanation must agree.
fn find(table: &Table, request: &Request) -> Option<u32> {
    let found = request.with(|subject| table.find(subject, &mut table.scratch()));
    let explained = request.with(|subject| table.explain(subject, 0).matched);
    assert_eq!(found, explained, "the index and the rules disagree on {request:?}");
    found.map(|id| id.0)
}

fn captured(table: &Table, path: &str) -> Vec<String> {
    let mut scratch = table.scratch();
    get("", path).with(|subject| table.find(subject, &mut scratch)).expect("a match");
    texts(&scratch, path)
}

fn texts(scratch: &Scratch, path: &str) -> Vec<String> {
    let captures = scratch.captures();
    (0..captures.len()).map(|index| String::from_utf8_lossy(captures.value(index, path.as_bytes())).into()).collect()
}

#[test]
fn captures_of_a_literal_way_that_ends_nowhere_are_forgotten() {
    let table = table([route("/a/{x}/end"), route("/{p}/{q}/stop")]);
    assert_eq!(captured(&table, "/a/1/end"), ["1"]);
    assert_eq!(captured(&table, "/a/1/stop"), ["a", "1"]);
}

#[test]
fn captures_are_taken_over_whole_and_with_nothing_of_those_before() {
    let table = table([route("/{p}/{q}"), route("/{p}"), route("^/x/y/z"), route("/")]);
    let (mut scratch, mut taken) = (table.scratch(), Captures::default());
    for path in ["/1/2", "/3", "/x/y/z/rest", "/4/5", "/", "/6"] {
        get("", path).with(|subject| table.find(subject, &mut scratch)).expect("a match");
        taken.clone_from(scratch.captures());
        for captures in [&taken, &taken.clone()] {
            assert_eq!(captures.len(), scratch.captures().len());
            assert_eq!(captures.remainder(path.as_bytes()), scratch.captures().remainder(path.as_bytes()));
            for index in 0..captures.len() {
                let expected = scratch.captures().value(index, path.as_bytes());
                assert_eq!(captures.value(index, path.as_bytes()), expected, "{path}");
            }
        }
    }
}

/// One lookup after another in one memory, as a shard does: nothing is captured but by the route that answers.
#[test]
fn what_an_earlier_lookup_captured_is_forgotten() {
    let table = table([
        route("~/r/(?<x>.*)"),
        route("/one/{a}/{b}"),
        route("/plain"),
        route("/{a}/{b}/end").host("a.x"),
        route("~/s/(?<y>.*)/(?<z>.*)"),
        route("^/pre"),
    ]);
    let mut scratch = table.scratch();
    let cases: [(&str, &str, &[&str]); 7] = [
        ("", "/one/1/2", &["1", "2"]),
        ("", "/r/3", &["3"]),
        ("", "/plain", &[]),
        ("", "/s/4/5", &["4", "5"]),
        ("a.x", "/r/6", &["6"]),
        ("a.x", "/s/7/8", &["7", "8"]),
        ("a.x", "/pre", &[]),
    ];
    for (host, path, expected) in cases.iter().cycle().take(10 * cases.len()) {
        get(host, path).with(|subject| table.find(subject, &mut scratch)).expect("a match");
        assert_eq!(texts(&scratch, path), *expected, "{path}");
    }
    for _ in 0..2 * PARAMETERS_MAX {
        get("", "/r/3").with(|subject| table.find(subject, &mut scratch)).expect("a match");
        assert_eq!(texts(&scratch, "/r/3"), ["3"]);
    }
}

#[test]
fn a_segment_that_only_begins_like_the_one_of_a_pattern_is_another() {
    let table = table([route("/{a}/bc/de/fg"), route("^/api/v1"), route("/x/y/z/{a}").host("a.x")]);
    assert_eq!(find(&table, &get("", "/1/bc/de/fg")), Some(0));
    assert_eq!(find(&table, &get("", "/api/v1/2")), Some(1));
    assert_eq!(find(&table, &get("a.x", "/x/y/z/1")), Some(2));
    for path in [
        "/1/bc/de/fgh",
        "/1/bc/dex/fg",
        "/1/bc/de/f",
        "/1/bcx/de/fg",
        "/1/bc/de/fg/",
        "/api/v1x",
        "/api/v1x/2",
        "/api/v",
    ] {
        assert_eq!(find(&table, &get("", path)), None, "{path}");
    }
    for path in ["/x/y/zz/1", "/x/y/z1", "/x/y/zz1", "/x/yz/1"] {
        assert_eq!(find(&table, &get("a.x", path)), None, "{path}");
    }
}

#[test]
fn an_exact_host_beats_the_longest_wildcard_and_that_beats_no_host() {
    let table = table([
        route("/{*rest}"),
        route("/{*rest}").host("*.com"),
        route("/{*rest}").host("*.example.com"),
        route("/{*rest}").host("a.example.com"),
    ]);
    assert_eq!(find(&table, &get("a.example.com", "/")), Some(3));
    assert_eq!(find(&table, &get("b.a.example.com", "/")), Some(2));
    assert_eq!(find(&table, &get("example.com", "/")), Some(1));
    assert_eq!(find(&table, &get("com", "/")), Some(0));
    assert_eq!(find(&table, &get("", "/")), Some(0));
}

#[test]
fn a_host_without_a_fitting_route_hides_no_other() {
    let table = table([
        route("/a").host("x.example.com").on("PUT"),
        route("/{*rest}").host("*.example.com").on("POST"),
        route("/b").host("*.com"),
        route("^/"),
    ]);
    assert_eq!(find(&table, &get("x.example.com", "/a")), Some(3));
    assert_eq!(find(&table, &get("x.example.com", "/b")), Some(2));
    assert_eq!(find(&table, &get("x.example.com", "/a").method("POST")), Some(1));
}

#[test]
fn an_exact_path_beats_a_regex_and_that_beats_patterns_and_prefixes() {
    let table = table([route("/a/{id}"), route("^/a"), route("~/a/.*"), route("~/a/b+"), route("/a/b")]);
    assert_eq!(find(&table, &get("", "/a/b")), Some(4));
    assert_eq!(find(&table, &get("", "/a/bb")), Some(2), "regexes in order of declaration");
    assert_eq!(find(&table, &get("", "/a")), Some(1));
}

#[test]
fn routes_with_the_same_regex_compete_by_their_other_predicates() {
    let table = table([route("~/a.*"), route("~/ab"), route("~/a.*").on("POST")]);
    assert_eq!(find(&table, &get("", "/ab").method("POST")), Some(2));
    assert_eq!(find(&table, &get("", "/ab")), Some(0));
}

#[test]
fn segments_are_compared_from_the_left_literal_before_parameter() {
    let table = table([route("/{a}/b/c"), route("/a/{b}/{c}"), route("/a/{b}/c"), route("/{a}/{b}/c")]);
    assert_eq!(find(&table, &get("", "/a/b/c")), Some(2));
    assert_eq!(find(&table, &get("", "/a/b/d")), Some(1));
    assert_eq!(find(&table, &get("", "/x/b/c")), Some(0));
    assert_eq!(find(&table, &get("", "/x/y/c")), Some(3), "back from `/x/y` without a literal");
}

#[test]
fn a_parameter_beats_the_rest_and_that_beats_the_prefix() {
    let table = table([route("^/v1"), route("/v1/{*rest}"), route("/v1/{id}"), route("/{*rest}")]);
    assert_eq!(find(&table, &get("", "/v1/x")), Some(2));
    assert_eq!(find(&table, &get("", "/v1/")), Some(1));
    assert_eq!(find(&table, &get("", "/v1/x/y")), Some(1));
    assert_eq!(find(&table, &get("", "/v1")), Some(0));
    assert_eq!(find(&table, &get("", "/v2")), Some(3));
}

#[test]
fn a_longer_path_beats_a_shorter_one() {
    let table = table([route("^/"), route("^/a"), route("^/a/b"), route("/a/{*rest}")]);
    assert_eq!(find(&table, &get("", "/a/b/c")), Some(2));
    assert_eq!(find(&table, &get("", "/a/c")), Some(3));
    assert_eq!(find(&table, &get("", "/ab")), Some(0));
}

#[test]
fn a_more_specific_path_with_a_misfit_falls_back_to_the_next() {
    let table = table([
        route("/a/b").on("PUT"),
        route("~/a/b").on("POST"),
        route("/a/{id}").field("x-v", exactly("2")),
        route("/a/{*rest}").parameter("q", Matcher::Present),
        route("^/a"),
    ]);
    let request = get("", "/a/b");
    assert_eq!(find(&table, &request), Some(4));
    assert_eq!(find(&table, &request.clone().query("q")), Some(3));
    assert_eq!(find(&table, &request.clone().query("q").header("X-V", "2")), Some(2));
    assert_eq!(find(&table, &request.clone().method("POST")), Some(1));
    assert_eq!(find(&table, &request.clone().method("PUT")), Some(0));
}

#[test]
fn get_does_not_imply_head_and_methods_are_compared_with_case() {
    let table = table([route("/").on("GET").on("purge")]);
    assert_eq!(find(&table, &get("", "/")), Some(0));
    assert_eq!(find(&table, &get("", "/").method("HEAD")), None);
    assert_eq!(find(&table, &get("", "/").method("purge")), Some(0));
    assert_eq!(find(&table, &get("", "/").method("PURGE")), None);
}

#[test]
fn method_then_headers_then_queries_then_order_decide() {
    let table = table([
        route("/").parameter("a", Matcher::Present).parameter("b", Matcher::Present),
        route("/").field("x", Matcher::Present),
        route("/").on("GET"),
        route("/").on("GET"),
        route("/").field("x", Matcher::Present).parameter("a", Matcher::Present),
    ]);
    let request = get("", "/").query("a&b").header("x", "");
    assert_eq!(find(&table, &request), Some(2));
    assert_eq!(find(&table, &request.clone().method("PUT")), Some(4));
    assert_eq!(find(&table, &request.clone().method("PUT").query("b")), Some(1));
    assert_eq!(find(&table, &get("", "/").method("PUT").query("a&b")), Some(0));
}

#[test]
fn any_line_of_a_repeated_header_may_fit() {
    let table = table([
        route("/exact").field("Accept", exactly("b")),
        route("/regex").field("x-other", matching("[0-9]+")),
        route("/absent").field("accept", Matcher::Absent),
    ]);
    let twice = |path: &str| get("", path).header("accept", "a").header("ACCEPT", "b").header("X-Other", "17");
    assert_eq!(find(&table, &twice("/exact")), Some(0));
    assert_eq!(find(&table, &twice("/regex")), Some(1));
    assert_eq!(find(&table, &twice("/absent")), None);
    assert_eq!(find(&table, &get("", "/absent")), Some(2));
    assert_eq!(find(&table, &get("", "/regex").header("x-other", "17a")), None);
}

#[test]
fn query_parameters_are_compared_decoded_and_any_occurrence_may_fit() {
    let table = table([
        route("/exact").parameter("a b", exactly("1 2")),
        route("/regex").parameter("n", matching("é|[0-9]")),
        route("/absent").parameter("n", Matcher::Absent),
    ]);
    assert_eq!(find(&table, &get("", "/exact").query("a+b=3&a%20b=1+2")), Some(0));
    assert_eq!(find(&table, &get("", "/regex").query("n=x&n=%C3%A9")), Some(1));
    assert_eq!(find(&table, &get("", "/regex").query("n=%ff")), None);
    assert_eq!(find(&table, &get("", "/absent").query("%6e=")), None);
    assert_eq!(find(&table, &get("", "/absent")), Some(2));
}

#[test]
fn parameters_are_captured_from_left_to_right() {
    let table = table([route("/{a}/x/{b}/{*rest}"), route("~/n(?<n>[0-9]+)(?:-(?<m>[a-z]*))?"), route("^/t/{tenant}")]);
    assert_eq!(captured(&table, "/1/x/2/3/4"), ["1", "2", "3/4"]);
    assert_eq!(captured(&table, "/1/x/2/"), ["1", "2", ""]);
    assert_eq!(captured(&table, "/n17-b"), ["17", "b"]);
    assert_eq!(captured(&table, "/n17"), ["17", ""]);
    assert_eq!(captured(&table, "/t/acme/z"), ["acme"]);
}

#[test]
fn captures_of_an_abandoned_way_are_forgotten() {
    let table = table([route("/{a}/{b}/c"), route("/{*rest}")]);
    assert_eq!(captured(&table, "/1/2/d"), ["1/2/d"]);
}

#[test]
fn a_path_that_does_not_begin_with_a_slash_has_no_route() {
    let table = table([route("/{*rest}"), route("^/"), route("~.*")]);
    assert_eq!(find(&table, &get("", "*").method("OPTIONS")), None);
    assert_eq!(find(&table, &get("", "")), None);
}

#[test]
fn a_scratch_may_serve_one_table_after_another() {
    let first = table([route("~/a.*").field("x", matching("1"))]);
    let second = table([route("~/b(?<b>.*)")]);
    let mut scratch = first.scratch();
    for _ in 0..2 {
        let found = get("", "/ab").header("x", "1").with(|subject| first.find(subject, &mut scratch));
        assert_eq!(found, Some(RouteId(0)));
        assert_eq!(get("", "/bc").with(|subject| second.find(subject, &mut scratch)), Some(RouteId(0)));
        assert_eq!(scratch.captures().value(0, b"/bc"), b"c");
    }
}

#[test]
fn a_route_whose_methods_were_all_named_before_is_shadowed() {
    let table = table([
        route("/{a}").host("h").on("GET").field("x", exactly("1")).field("y", Matcher::Present),
        route("/{b}").host("h").on("GET").field("Y", Matcher::Present).field("X", exactly("1")),
        route("/{b}").host("h").on("GET").on("PUT"),
        route("/{b}").host("i").host("h").on("PUT"),
        route("/{b}").host("h").on("PUT").on("POST"),
        route("^/p"),
        route("^/p/").host("h"),
        route("^/p/"),
    ]);
    let pairs: Vec<_> = table.shadowed().iter().map(|pair| (pair.earlier.0, pair.later.0)).collect();
    assert_eq!(pairs, [(0, 1), (2, 3), (5, 7)]);
}

#[test]
fn reports_of_shadowed_routes_are_bounded() {
    let table = table((0..300).map(|_| route("/")));
    assert_eq!(table.shadowed().len(), SHADOWED_MAX);
}

#[test]
fn an_explanation_names_the_winner_and_the_closest_misses_first() {
    let table = table([
        route("/x").host("h"),
        route("/a").host("other"),
        route("/a").host("h").on("PUT").on("POST"),
        route("/a").host("h").field("x-v", exactly("2")),
        route("^/").host("h"),
        route("/a").host("h"),
    ]);
    let explanation = get("h", "/a").with(|subject| table.explain(subject, 5));
    assert_eq!(explanation.matched, Some(RouteId(5)));
    let near: Vec<_> = explanation.near.iter().map(|miss| (miss.route.0, miss.text.as_str())).collect();
    let expected = [
        (4, "it fits, but another route wins: its path is more specific"),
        (3, "header `x-v` is not exactly `2`"),
        (2, "the method is not PUT or POST"),
        (1, "the host is not other"),
        (0, "the path differs from /x at segment 1"),
    ];
    assert_eq!(near, expected);
}

/// Renders `template` for `path` as matched by `pattern` (written as for [`route`]).
fn render(
    make: impl Fn(&str, &PathPattern) -> Result<Template, PatternError>,
    pattern: &str,
    template: &str,
    path: &str,
) -> Result<String, RenderError> {
    let table = table([route(pattern)]);
    let template = make(template, &table.routes()[0].path).expect("a valid template");
    let mut scratch = table.scratch();
    get("", path).with(|subject| table.find(subject, &mut scratch)).expect("a match");
    let mut out = b"> ".to_vec();
    let rendered = template.render(scratch.captures(), path.as_bytes(), &mut out);
    let text = String::from_utf8(out).expect("ASCII");
    rendered.map(|()| text[2..].to_owned())
}

#[test]
fn a_rewritten_path_takes_captured_values_as_they_stand() {
    let path = |pattern, template, path| render(Template::path, pattern, template, path).expect("rendered");
    assert_eq!(path("/v1/orders/{id}", "/orders/{id}", "/v1/orders/a%2Fb"), "/orders/a%2Fb");
    assert_eq!(path("/a/{*rest}", "/b/{rest}", "/a/"), "/b/");
    assert_eq!(path("/a/{*rest}", "/b/{rest}/c", "/a/"), "/b/c");
    assert_eq!(path("~/a(?<rest>/.*)?", "/b/{rest}", "/a/x"), "/b/x");
    assert_eq!(path("~/(?<x>[a-z]+)-(?<y>[0-9]+)", "/{y}.{x}", "/ab-7"), "/7.ab");
}

#[test]
fn a_rewritten_prefix_keeps_what_follows_it() {
    let cases = [
        ("^/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("^/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("^/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("^/foo", "/xyz", "/foo", "/xyz"),
        ("^/foo", "/xyz", "/foo/", "/xyz/"),
        ("^/foo", "/", "/foo/bar", "/bar"),
        ("^/foo", "/", "/foo", "/"),
        ("^/foo", "/", "/foo/", "/"),
        ("^/", "/xyz", "/bar", "/xyz/bar"),
        ("^/t/{t}", "/{t}/x?t={t}", "/t/a&b/c", "/a&b/x/c?t=a%26b"),
    ];
    for (pattern, template, path, expected) in cases {
        assert_eq!(
            render(Template::path, pattern, template, path).as_deref(),
            Ok(expected),
            "{pattern} {template} {path}"
        );
    }
}

#[test]
fn a_value_that_would_climb_refuses_the_rendering() {
    let refused = |pattern, template, path| render(Template::path, pattern, template, path).expect_err("refused");
    assert_eq!(refused("~/a(?<x>.*)", "/base/{x}", "/a.."), RenderError::Path);
    assert_eq!(refused("~/(?<x>.).(?<y>.)", "/{x}{y}", "/.a."), RenderError::Path);
    assert_eq!(refused("~/(?<x>..).*", "/{x}E", "/%2F"), RenderError::Path);
}

#[test]
fn a_captured_value_cannot_add_query_parameters() {
    let path = |template, path| render(Template::path, "/{id}", template, path).expect("rendered");
    assert_eq!(path("/x?id={id}&v=1", "/a&admin=1+2%20"), "/x?id=a%26admin%3D1%2B2%20&v=1");
}

#[test]
fn a_rewritten_host_takes_labels_only() {
    let host = |path| render(Template::host, "/{t}/{*rest}", "{t}.internal:8080", path);
    assert_eq!(host("/Acme/x").as_deref(), Ok("acme.internal:8080"));
    assert_eq!(host("/a@b/"), Err(RenderError::Host));
    assert_eq!(host("/a..b/"), Err(RenderError::Host));
}

#[test]
fn a_redirect_target_is_a_path_or_a_url() {
    let location = |template, path| render(Template::location, "/o/{*rest}", template, path);
    assert_eq!(
        location("https://n.example/{rest}?from=o#top", "/o/a/b").as_deref(),
        Ok("https://n.example/a/b?from=o#top")
    );
    assert_eq!(location("https://n.example", "/o/a").as_deref(), Ok("https://n.example/"));
    assert_eq!(location("/n/{rest}", "/o/a").as_deref(), Ok("/n/a"));
}

#[test]
fn a_wrong_template_is_explained_where_it_is_wrong() {
    let pattern = PathPattern::parse("/a/{id}/{*rest}").expect("a valid pattern");
    type Make = fn(&str, &PathPattern) -> Result<Template, PatternError>;
    let cases: [(Make, &str, usize, &str); 9] = [
        (Template::path, "/x/{ID}", 4, "`{id}`, `{rest}`"),
        (Template::path, "/x/{*rest}", 4, "write `{rest}`"),
        (Template::path, "x/{id}", 0, "write `/x/{id}`"),
        (Template::path, "/x/{id", 3, "write `{name}`"),
        (Template::path, "/x/../{id}", 3, "dot segments"),
        (Template::path, "/x#y", 2, "leave it out"),
        (Template::location, "//evil.example/", 0, "https://"),
        (Template::location, "https://a b/", 9, "letters"),
        (Template::host, "{id}.a/b", 6, "letters"),
    ];
    for (make, text, at, hint) in cases {
        let error = make(text, &pattern).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.hint.contains(hint), "{text}: {error}");
    }
}

const HOSTS: &[&str] = &["", "a.x", "b.a.x", "c.b.a.x", "x"];
const HOST_PATTERNS: &[&str] = &["a.x", "b.a.x", "*.a.x", "*.x", "*.b.a.x"];
const SEGMENTS: &[&str] = &["a", "b", "c"];
const METHODS: &[&str] = &["GET", "PUT", "LOOK"];

fn any_path_pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => select(SEGMENTS).prop_map(str::to_owned), 2 => Just("{}".to_owned())];
    let segments = prop::collection::vec(segment, 0..4);
    let regex = select(&["~/a.*", "~/[ab]/(?<x>.*)", "~/.", "~/(a|b)/c/?"][..]).prop_map(str::to_owned);
    let pattern = (segments, select(&["", "/", "rest", "prefix"][..])).prop_map(|(segments, end)| {
        let named = segments.iter().enumerate().map(|(at, segment)| match segment.as_str() {
            "{}" => format!("/{{p{at}}}"),
            text => format!("/{text}"),
        });
        let path: String = named.collect();
        match end {
            "rest" => format!("{path}/{{*rest}}"),
            "prefix" if path.is_empty() => "^/".to_owned(),
            "prefix" => format!("^{path}"),
            "" if path.is_empty() => "/".to_owned(),
            end => format!("{path}{end}"),
        }
    });
    prop_oneof![5 => pattern, 1 => regex]
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    prop_oneof![Just(exactly("1")), Just(matching("[12]")), Just(Matcher::Present), Just(Matcher::Absent),]
}

prop_compose! {
    fn any_route()(
        hosts in prop::collection::vec(select(HOST_PATTERNS), 0..3),
        path in any_path_pattern(),
        methods in prop::collection::vec(select(METHODS), 0..2),
        headers in prop::collection::vec((select(&["x", "accept"][..]), any_matcher()), 0..2),
        queries in prop::collection::vec((select(&["q", "r"][..]), any_matcher()), 0..2),
    ) -> RouteSpec {
        let spec = hosts.into_iter().fold(route(&path), RouteSpec::host);
        let spec = methods.into_iter().fold(spec, RouteSpec::on);
        let spec = headers.into_iter().fold(spec, |spec, (name, matcher)| spec.field(name, matcher));
        queries.into_iter().fold(spec, |spec, (name, matcher)| spec.parameter(name, matcher))
    }
}

prop_compose! {
    /// A canonical path that is easily cut or joined into another kind.
    fn any_odd_path()(
        segments in prop::collection::vec(select(&["a", "...", "a..", ".a", "..a;", "%2F", "%25", "a%2F2e", "%3A.."][..]), 1..5),
        slash in select(&["", "/"][..]),
    ) -> String {
        segments.into_iter().fold(String::new(), |path, segment| path + "/" + segment) + slash
    }
}

prop_compose! {
    fn any_request()(
        host in select(HOSTS),
        segments in prop::collection::vec(select(SEGMENTS), 0..5),
        slash in any::<bool>(),
        method in select(METHODS),
        header in prop::option::of((select(&["x", "accept"][..]), select(&["1", "2", "3"][..]))),
        query in prop::option::of(select(&["q=1", "q=2&r=1", "r", "r=3&q=1"][..])),
    ) -> Request {
        let slash = if slash || segments.is_empty() { "/" } else { "" };
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        let mut request = get(host, &format!("{path}{slash}")).method(method);
        request.query = query.map(str::to_owned);
        header.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_index_finds_what_the_rules_say(
        routes in prop::collection::vec(any_route(), 0..24),
        requests in prop::collection::vec(any_request(), 1..24),
    ) {
        let table = table(routes);
        for request in &requests {
            find(&table, request);
        }
    }

    #[test]
    fn a_shadowed_route_never_answers_where_its_earlier_one_could(
        routes in prop::collection::vec(any_route(), 2..24),
        request in any_request(),
    ) {
        let hostless: Vec<RouteSpec> = routes.into_iter().map(|spec| RouteSpec { hosts: vec![], ..spec }).collect();
        let table = table(hostless);
        if let Some(found) = find(&table, &request) {
            prop_assert!(table.shadowed().iter().all(|pair| pair.later.0 != found));
        }
    }

    #[test]
    fn a_rendered_path_is_canonical(
        path in any_odd_path(),
        pattern in select(&[
            "~(?<x>/?[^/]*)/?(?<y>.*)", "~.(?<x>.?)(?<y>.*)", "/{x}/{*y}", "^/{x}/{y}", "^/{x}", "~(?s:(?<x>.*?)(?<y>[/.%].*))",
        ][..]),
        template in select(&["/{x}", "/{y}{x}", "/.{x}", "/a/{x}/{y}/b", "/{x}.", "/{y}/{x}/", "/%3{x}"][..]),
    ) {
        let table = table([route(pattern)]);
        let Ok(template) = Template::path(template, &table.routes()[0].path) else { return Ok(()) };
        let mut scratch = table.scratch();
        if get("", &path).with(|subject| table.find(subject, &mut scratch)).is_none() {
            return Ok(());
        }
        let mut out = b"kept".to_vec();
        match template.render(scratch.captures(), path.as_bytes(), &mut out) {
            Ok(()) => prop_assert!(out[4] == b'/' && canonical::fault(&out[4..]).is_none(), "{}", out.escape_ascii()),
            Err(_) => prop_assert_eq!(out, b"kept".to_vec()),
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "[/{}*.%a-c~^()é\\[\\]?# ]{0,24}") {
        let _ = HostPattern::parse(&text);
        let _ = FullRegex::parse(&text);
        for pattern in [PathPattern::parse(&text), PathPattern::prefix(&text), PathPattern::regex(&text)] {
            if let Err(error) = pattern {
                prop_assert!(error.at <= text.len());
            }
        }
        let pattern = PathPattern::parse("/{a}").expect("a valid pattern");
        for template in [Template::path(&text, &pattern), Template::host(&text, &pattern), Template::location(&text, &pattern)] {
            if let Err(error) = template {
                prop_assert!(error.at <= text.len());
            }
        }
    }
}
