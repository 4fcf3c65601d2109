//! Reads the members of an object one by one, without recursion: the doors of guests do this on the small stack of a guest.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::invalid::{NO_OBJECT, REPEATED};
use super::scan::LONE_SURROGATE;
use super::{InvalidJson, grammar};

/// The members of an object in their order, each once. Their values are not read.
pub fn members<'a>(json: &'a [u8], whole: &str) -> Result<Vec<(String, &'a RawValue)>, InvalidJson> {
    let Members(members) = serde_json::from_slice(json).map_err(|_| {
        let problem = match grammar(json) {
            Err(problem) => problem,
            Ok(raw) if raw.get().starts_with('{') => LONE_SURROGATE.to_owned(), // of a name
            Ok(_) => NO_OBJECT.to_owned(),
        };
        InvalidJson::new(whole, problem)
    })?;
    match repeated(&members) {
        Some(name) => Err(InvalidJson::new(name, REPEATED)),
        None => Ok(members),
    }
}

/// The first name that was there before.
fn repeated<'a>(members: &'a [(String, &RawValue)]) -> Option<&'a str> {
    // Comparing so few names, most of which differ in length, takes a third of the time of hashing them.
    const FEW: usize = 16;
    let names = || members.iter().map(|(name, _)| name.as_str());
    if members.len() <= FEW {
        return (1..members.len()).find_map(|at| {
            let name = members[at].0.as_str();
            names().take(at).any(|before| before == name).then_some(name)
        });
    }
    let mut seen = HashSet::with_capacity(members.len());
    names().find(|name| !seen.insert(*name))
}

/// The text that a member is.
pub fn text(name: &str, value: &RawValue) -> Result<String, InvalidJson> {
    let problem = if value.get().starts_with('"') {
        match serde_json::from_str(value.get()) {
            Ok(text) => return Ok(text),
            Err(_) => LONE_SURROGATE.to_owned(), // the grammar of the text is right
        }
    } else {
        format!("is {}, and must be a text", kind(value))
    };
    Err(InvalidJson::new(name, problem))
}

/// The texts that a member is: one, or an array of at most `most`.
pub fn texts(name: &str, value: &RawValue, most: usize) -> Result<Vec<String>, InvalidJson> {
    if value.get().starts_with('"') {
        return text(name, value).map(|text| vec![text]);
    }
    let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        let problem = format!("is {}, and must be a text or an array of texts", kind(value));
        return Err(InvalidJson::new(name, problem));
    };
    if values.len() > most {
        let problem = format!("has {} entries, and may have {most}", values.len());
        return Err(InvalidJson::new(name, problem));
    }
    let entry = |(at, value): (usize, &&RawValue)| text(&format!("{name}[{at}]"), value);
    values.iter().enumerate().map(entry).collect()
}

/// What a value is that is no text.
fn kind(value: &RawValue) -> &str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f' | b'n') => value.get(),
        _ => "a number",
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Listing;
        impl<'de> Visitor<'de> for Listing {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::BODY;

    #[test]
    fn a_name_that_is_there_twice_is_found_among_few_and_many() {
        for count in [2, 16, 17, 100] {
            let member = |at: usize| format!(r#""m{at}":0"#);
            let listed = |last: usize| (0..count - 1).chain([last]).map(member).collect::<Vec<_>>().join(",");
            let found = |last| members(format!("{{{}}}", listed(last)).as_bytes(), "body").map(|found| found.len());
            assert_eq!(found(count), Ok(count));
            assert_eq!(
                found(count - 2),
                Err(InvalidJson::new(&format!("m{}", count - 2), REPEATED))
            );
            assert_eq!(found(0), Err(InvalidJson::new("m0", REPEATED)));
        }
    }

    #[test]
    fn members_are_listed_in_their_order_and_as_written() {
        let listed = members(br#" {"b": 1.10, "a": {"x":1,"x":2}} "#, BODY).unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|(name, value)| (name.as_str(), value.get()))
            .collect();
        assert_eq!(listed, [("b", "1.10"), ("a", r#"{"x":1,"x":2}"#)]);
        let refused = |json: &str| members(json.as_bytes(), BODY).unwrap_err();
        assert_eq!(
            refused(r#"{"a": 1, "b": 2, "a": null}"#),
            InvalidJson::new("a", REPEATED)
        );
        assert_eq!(refused("[]"), InvalidJson::new(BODY, NO_OBJECT));
        assert_eq!(refused(r#"{"\ud800": 1}"#), InvalidJson::new(BODY, LONE_SURROGATE));
        assert!(refused(r#"{"a": 1"#).problem.contains("before it is complete"));
    }

    #[test]
    fn texts_are_read_and_others_are_named() {
        let raw = |json: &'static str| serde_json::from_str::<&RawValue>(json).unwrap();
        assert_eq!(text("a", raw(r#""x\n""#)).unwrap(), "x\n");
        assert_eq!(texts("a", raw(r#""x""#), 2).unwrap(), ["x"]);
        assert_eq!(texts("a", raw(r#"["x","y"]"#), 2).unwrap(), ["x", "y"]);
        for (json, problem) in [
            ("7", "`a` is a number, and must be a text or an array of texts"),
            ("true", "`a` is true, and must be a text or an array of texts"),
            (r#"["x",{}]"#, "`a[1]` is an object, and must be a text"),
            (r#"["x","y","z"]"#, "`a` has 3 entries, and may have 2"),
        ] {
            assert_eq!(texts("a", raw(json), 2).unwrap_err().to_string(), problem);
        }
        assert_eq!(text("a", raw(r#""\ud800""#)).unwrap_err().problem, LONE_SURROGATE);
    }
}
