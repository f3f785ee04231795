//! The trace that a request is part of (W3C Trace Context, level 1): whatever is logged while it is answered carries its ids, so
//! that it is found from the client's side.
//!
//! A request without a trace has none here either, and what the specification calls invalid counts as nothing: no request is
//! refused for it. Nothing is sent on, so `tracestate` is only shown. Over gRPC the metadata of these names are the same headers.

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use tracing::{Instrument, Span, field};

const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";

/// Of the only version that there is, `00`: version, trace, parent and flags, with dashes between them.
const LENGTH: usize = 55;

/// Longer lists of `tracestate` need not be kept (3.3.1.5), and are left out whole.
const LONGEST_STATE: usize = 512;

/// Where in a trace a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Context<'a> {
    trace_id: &'a str,
    parent_id: &'a str,
    sampled: bool,
}

/// Answers a request within the span that its headers name.
pub(super) async fn follow(request: Request, next: Next) -> Response {
    match span(request.headers()) {
        Some(span) => next.run(request).instrument(span).await,
        None => next.run(request).await,
    }
}

/// It has the highest level, for it writes nothing by itself, and must be there for whatever does.
fn span(headers: &HeaderMap) -> Option<Span> {
    let Context { trace_id, parent_id, sampled } = parent(headers)?;
    let span = tracing::error_span!("request", trace_id, parent_id, sampled, tracestate = field::Empty);
    if let Some(state) = state(headers) {
        span.record(TRACE_STATE, state);
    }
    Some(span)
}

/// The parent, if the header is there once and valid.
fn parent(headers: &HeaderMap) -> Option<Context<'_>> {
    let mut values = headers.get_all(TRACE_PARENT).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    parse(value.to_str().ok()?)
}

/// A later version may be longer, and begins as this one (4.3).
fn parse(text: &str) -> Option<Context<'_>> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let mut hexadecimal = |length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts.next().filter(|part| part.len() == length && part.bytes().all(is_digit))
    };
    let version = hexadecimal(2).filter(|version| *version != "ff")?;
    let not_zero = |part: &&str| part.bytes().any(|byte| byte != b'0');
    let trace_id = hexadecimal(32).filter(not_zero)?;
    let parent_id = hexadecimal(16).filter(not_zero)?;
    let flags = u8::from_str_radix(hexadecimal(2)?, 16).ok()?;
    let ends_well = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    ends_well.then_some(Context { trace_id, parent_id, sampled: flags & 1 == 1 })
}

/// What tracing systems added for themselves: all headers of the name, as one list.
fn state(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(TRACE_STATE).iter().map(|value| value.to_str().ok());
    let list = values.collect::<Option<Vec<_>>>()?.join(",");
    (!list.is_empty() && list.len() <= LONGEST_STATE).then_some(list)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_parent_is_taken_apart() {
        let expected = Context { trace_id: TRACE, parent_id: "00f067aa0ba902b7", sampled: true };
        assert_eq!(parse(VALID), Some(expected));
        let unsampled = VALID.replace("-01", "-02");
        assert_eq!(parse(&unsampled), Some(Context { sampled: false, ..expected }));
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes",
        ] {
            assert_eq!(parse(later), Some(expected), "{later}");
        }
    }

    #[test]
    fn an_invalid_parent_counts_as_none() {
        let zeros = |count| "0".repeat(count);
        let cases = [
            String::new(),
            "00".to_owned(),
            "é".repeat(40),
            VALID.replace("00-", "ff-"),
            VALID.replace(TRACE, &zeros(32)),
            VALID.replace("00f067aa0ba902b7", &zeros(16)),
            VALID.replace(TRACE, &TRACE.to_uppercase()),
            VALID.replace('-', "_"),
            VALID.replace("-01", "-0x"),
            format!("{VALID}-and-more"),
            format!("{VALID}."),
            VALID.replace("00-", "cc-") + ".",
            format!(" {VALID}"),
        ];
        for text in cases {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn two_parents_are_none_and_many_states_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(TRACE_PARENT, HeaderValue::from_static(VALID));
        headers.append(TRACE_STATE, HeaderValue::from_static("a=1"));
        headers.append(TRACE_STATE, HeaderValue::from_static("b=2,c=3"));
        assert!(parent(&headers).is_some());
        assert_eq!(state(&headers).as_deref(), Some("a=1,b=2,c=3"));
        headers.append(TRACE_PARENT, HeaderValue::from_static(VALID));
        assert_eq!(parent(&headers), None);
        headers.append(TRACE_STATE, "x".repeat(LONGEST_STATE).parse().unwrap());
        assert_eq!(state(&headers), None);
    }
}
