//! Query parameters. Each is known and given once, and an error names the wrong one.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::http::failure::Failure;
use crate::api::limits;
use crate::error::{Error, Result};
use crate::json::{Invalid, QUERY, cut, wanted};

/// The query parameters of a request, read into the members of `T`.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// No query parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// The most entries of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub(super) struct PageSize(pub(super) usize);

impl Default for PageSize {
    fn default() -> Self {
        Self(limits::DEFAULT_PAGE)
    }
}

impl PartialSchema for PageSize {
    fn schema() -> RefOr<Schema> {
        let size = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .default(Some(limits::DEFAULT_PAGE.into()));
        size.minimum(Some(1)).maximum(Some(limits::PAGE)).into()
    }
}

impl ToSchema for PageSize {}

impl TryFrom<usize> for PageSize {
    type Error = String;

    fn try_from(size: usize) -> Result<Self, String> {
        if (1..=limits::PAGE).contains(&size) {
            Ok(Self(size))
        } else {
            Err(format!("is {size}, and must be 1 to {}", limits::PAGE))
        }
    }
}

impl<T: DeserializeOwned> Query<T> {
    pub(super) fn parse(query: &str) -> Result<Self> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| Error::invalid("query", "is no list of `name=value`, joined by `&`"))?
            .into_inner();
        let pairs = pairs.into_iter().map(|(name, value)| (name, Parameter(value)));
        serde_path_to_error::deserialize(MapDeserializer::new(pairs))
            .map(Self)
            .map_err(|error| {
                let path = error.path().clone();
                error.into_inner().at(&path, QUERY).into()
            })
    }
}

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.query_string()).map_err(Failure::from))
    }
}

/// A deserialiser of one parameter, which parses its text as the type of the member.
struct Parameter(String);

impl Parameter {
    fn given(self) -> Result<String, Invalid> {
        if self.0.is_empty() {
            return Err(Invalid::Wrong("is empty: give a value, or leave it out".to_owned()));
        }
        Ok(self.0)
    }
}

impl IntoDeserializer<'_, Invalid> for Parameter {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Methods that parse the text, with an error that says what is expected.
macro_rules! parse {
    ($($method:ident: $visit:ident),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
            let text = self.given()?;
            match text.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Invalid::Wrong(format!("is `{}`, and must be {}", cut(&text), wanted(&visitor)))),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Parameter {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_string(self.given()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        visitor.visit_enum(self.given()?.into_deserializer())
    }

    parse! {
        deserialize_bool: visit_bool,
        deserialize_u32: visit_u32,
        deserialize_u64: visit_u64,
        deserialize_f64: visit_f64,
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Lifecycle;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        agent: Option<String>,
        #[serde(default)]
        limit: PageSize,
        offset: Option<usize>,
        status: Option<Lifecycle>,
        force: Option<bool>,
        seconds: Option<f64>,
    }

    fn asked(query: &str) -> Asked {
        Query::parse(query).unwrap().0
    }

    fn refused(query: &str) -> (String, String) {
        let error = Query::<Asked>::parse(query).unwrap_err();
        let Error::InvalidRequest { field, problem } = error else {
            panic!("no invalid request")
        };
        (field, problem)
    }

    #[test]
    fn parameters_are_read_as_what_they_are() {
        let all = asked("limit=10&agent=my%2Dagent&offset=5&status=running&force=true&seconds=0.5");
        assert_eq!((all.limit, all.offset), (PageSize(10), Some(5)));
        assert_eq!(all.agent.as_deref(), Some("my-agent"));
        assert_eq!((all.status, all.force), (Some(Lifecycle::Running), Some(true)));
        assert_eq!(all.seconds, Some(0.5));
        let none = asked("");
        assert_eq!((none.limit, none.agent), (PageSize(50), None));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=2", "limit"),
            ("limit=-1", "limit"),
            ("agent=", "agent"),
            ("agent=a&agent=a", "agent"),
            ("status=asleep", "status"),
            ("force=yes", "force"),
            ("seconds=soon", "seconds"),
            ("colour=red", "colour"),
            ("colour=", "colour"),
        ] {
            assert_eq!(refused(query).0, field, "{query}");
        }
        let nothing = Query::<NoParameters>::parse("colour=red").unwrap_err();
        assert_eq!(nothing.details()["field"], "colour");
    }

    #[test]
    fn an_error_says_what_is_given_and_what_is_expected() {
        for (query, problem) in [
            ("limit=ten", "is `ten`, and must be a whole number, 0 or more"),
            ("limit=0", "is 0, and must be 1 to 1000"),
            ("force=yes", "is `yes`, and must be true or false"),
            ("agent=a&agent=b", "is given more than once"),
            ("agent=", "is empty: give a value, or leave it out"),
            (
                "status=asleep",
                "is `asleep`, and must be one of unloaded, loaded, running, draining, stopped, failed",
            ),
            (
                "colour=red",
                "is not known here; these are: agent, limit, offset, status, force, seconds",
            ),
        ] {
            assert_eq!(refused(query).1, problem, "{query}");
        }
    }
}
