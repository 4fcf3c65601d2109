//! Query parameters: each is known, given once, and named in the error when it is wrong.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::HttpRequest;
use actix_web::web::Query;

use crate::error::{Error, Result};

/// The parameters of a request that have not been taken yet.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(request: &HttpRequest) -> Result<Self> {
        Self::parse(request.query_string())
    }

    fn parse(query: &str) -> Result<Self> {
        let pairs = Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| Error::invalid("query", format!("cannot be read: {error}")))?
            .into_inner();
        Ok(Self(pairs))
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(Error::invalid(name, "is given more than once"));
        }
        if value.is_empty() {
            return Err(Error::invalid(name, "is empty: give a value, or leave it out"));
        }
        Ok(Some(value))
    }

    /// Takes what `read` makes of a text.
    pub(super) fn with<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<T>> {
        let read = |text: String| read(&text).map_err(|error| Error::invalid(name, format!("is wrong: {error}")));
        self.text(name)?.map(read).transpose()
    }

    /// Takes what parses as `T`.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>> {
        self.with(name, str::parse)
    }

    /// Takes one of a few words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        name: &str,
        all: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>> {
        self.with(name, |text| {
            all.iter().copied().find(|value| word(*value) == text).ok_or_else(|| {
                let words: Vec<_> = all.iter().map(|value| word(*value)).collect();
                format!(
                    "`{}` is none of {}",
                    text.chars().take(40).collect::<String>(),
                    words.join(", ")
                )
            })
        })
    }

    /// Takes a page size of 1 to [`PAGE`](crate::api::limits::PAGE).
    pub(super) fn limit(&mut self) -> Result<usize> {
        use crate::api::limits::{DEFAULT_PAGE, PAGE};
        match self.parsed("limit")? {
            None => Ok(DEFAULT_PAGE),
            Some(limit) if (1..=PAGE).contains(&limit) => Ok(limit),
            Some(limit) => Err(Error::invalid("limit", format!("is {limit}, and must be 1 to {PAGE}"))),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<()> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(Error::invalid(name, "is no query parameter of this request"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<T>(result: Result<T>) -> String {
        let Some(Error::InvalidRequest { field, .. }) = result.err() else {
            panic!("no invalid request")
        };
        field
    }

    #[test]
    fn parameters_are_taken_one_by_one() {
        let mut query = Parameters::parse("limit=10&agent=my%2Dagent&offset=5").unwrap();
        assert_eq!(query.limit().unwrap(), 10);
        assert_eq!(query.text("agent").unwrap().as_deref(), Some("my-agent"));
        assert_eq!(query.parsed::<usize>("offset").unwrap(), Some(5));
        assert_eq!(query.text("status").unwrap(), None);
        query.finish().unwrap();
        assert_eq!(Parameters::parse("").unwrap().limit().unwrap(), 50);
    }

    #[test]
    fn wrong_parameters_are_named() {
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=ten",
            "limit=",
            "limit=1&limit=2",
            "limit=-1",
        ] {
            assert_eq!(field(Parameters::parse(bad).unwrap().limit()), "limit", "{bad}");
        }
        assert_eq!(field(Parameters::parse("colour=red").unwrap().finish()), "colour");
        let mut query = Parameters::parse("status=asleep").unwrap();
        assert_eq!(
            field(query.one_of("status", crate::node::Lifecycle::ALL, crate::node::Lifecycle::as_str)),
            "status"
        );
    }
}
