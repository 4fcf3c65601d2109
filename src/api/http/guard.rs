//! Refuses requests from web pages, as long as the server has no tokens.
//!
//! A page that a user of this machine visits can send requests to loopback addresses. The browser then sends `Origin`, or, if the
//! page's own name resolves to 127.0.0.1 (DNS rebinding), that name as `Host`.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::dev::RequestHead;
use actix_web::http::header::{self, HeaderValue};

use crate::api::credentials;
use crate::error::{Error, Result};

/// Refuses a `Host` that is a name other than localhost, an `Origin` that is not on this machine (also `null`), and two
/// different tokens. A request without `Origin` and `Host` does not come from a browser.
pub(super) fn check(head: &RequestHead) -> Result<()> {
    let hosts = head.headers.get_all(header::HOST).map(HeaderValue::to_str);
    let target = head.uri.authority().map(|authority| Ok(authority.as_str()));
    for host in hosts.chain(target) {
        if !host.is_ok_and(is_address_or_localhost) {
            let mend = "this server answers to IP addresses and to localhost, not to other names (protection against DNS \
                        rebinding)";
            return Err(Error::Forbidden(mend.to_owned()));
        }
    }
    for origin in head.headers.get_all(header::ORIGIN) {
        if !origin.to_str().is_ok_and(is_loopback_origin) {
            return Err(Error::Forbidden(
                "this server takes no requests from web pages of other machines".to_owned(),
            ));
        }
    }
    let values = |name| head.headers.get_all(name).map(HeaderValue::as_bytes);
    credentials::agree(values(credentials::CAXTON_TOKEN), values(credentials::AUTHORIZATION))
}

/// The host of `host[:port]`. An IPv6 address keeps its brackets.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            authority.split_at(end)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let legal = digits.bytes().all(|b| b.is_ascii_digit()) && (port.is_empty() || port.starts_with(':'));
    legal.then_some(host)
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case("localhost.")
}

fn is_address_or_localhost(authority: &str) -> bool {
    host_of(authority).is_some_and(|host| is_localhost(host) || address(host).is_some())
}

fn is_loopback_origin(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let host = authority.and_then(host_of);
    host.is_some_and(|host| is_localhost(host) || address(host).is_some_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn refused(headers: &[(&'static str, &'static str)]) -> Option<&'static str> {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, header| request.append_header(*header));
        check(request.to_http_request().head())
            .err()
            .map(|error| error.code().as_str())
    }

    #[test]
    fn hosts_are_addresses_or_localhost() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "localhost",
            "LocalHost:80",
            "192.168.0.7:1",
        ] {
            assert_eq!(refused(&[("host", good)]), None, "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1",
            "::1",
        ] {
            assert_eq!(refused(&[("host", bad)]), Some("FORBIDDEN"), "{bad}");
        }
        assert_eq!(
            refused(&[("host", "localhost"), ("host", "evil.example")]),
            Some("FORBIDDEN")
        );
    }

    #[test]
    fn origins_are_on_this_machine() {
        assert_eq!(refused(&[]), None);
        for good in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://127.8.8.8:1",
            "http://[::1]:8080",
        ] {
            assert_eq!(refused(&[("origin", good)]), None, "{good}");
        }
        for bad in [
            "null",
            "https://evil.example",
            "http://192.168.0.7",
            "http://localhost@evil.example",
            "file://",
        ] {
            assert_eq!(refused(&[("origin", bad)]), Some("FORBIDDEN"), "{bad}");
        }
    }

    #[test]
    fn two_tokens_must_agree() {
        assert_eq!(refused(&[("x-caxton-token", "a")]), None);
        assert_eq!(refused(&[("x-caxton-token", "a"), ("authorization", "bearer a")]), None);
        assert_eq!(
            refused(&[("x-caxton-token", "a"), ("authorization", "Bearer b")]),
            Some("INVALID_REQUEST")
        );
        assert_eq!(
            refused(&[("x-caxton-token", "a"), ("authorization", "Basic a")]),
            Some("INVALID_REQUEST")
        );
    }
}
