//! A text message that comes in fragments (RFC 6455, section 5.4).

use actix_http::ws::{CloseCode, Item};

use super::limits;

/// The fragments of a message that has begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Fragments(Vec<u8>);

/// Why the connection must close.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Binary,
    TooLarge,
    NotUtf8,
}

impl Refused {
    pub(super) const fn code(&self) -> CloseCode {
        match self {
            Self::Binary => CloseCode::Unsupported,
            Self::TooLarge => CloseCode::Size,
            Self::NotUtf8 => CloseCode::Invalid,
        }
    }

    pub(super) const fn why(&self) -> &'static str {
        match self {
            Self::Binary => "messages are text",
            Self::TooLarge => "messages have at most 64 KiB",
            Self::NotUtf8 => "the text is not UTF-8",
        }
    }
}

impl Fragments {
    /// Adds a fragment. Returns the message when it is complete. The codec has checked that a message begins before it goes on.
    pub(super) fn add(&mut self, fragment: Item) -> Result<Option<String>, Refused> {
        let (bytes, is_last) = match fragment {
            Item::FirstText(bytes) | Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
            Item::FirstBinary(_) => return Err(Refused::Binary),
        };
        if self.0.len() + bytes.len() > limits::MESSAGE_BYTES {
            return Err(Refused::TooLarge);
        }
        self.0.extend_from_slice(&bytes);
        if !is_last {
            return Ok(None);
        }
        let text = String::from_utf8(std::mem::take(&mut self.0));
        text.map(Some).map_err(|_| Refused::NotUtf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_joined_wherever_they_are_cut() {
        let text = "{\"type\":\"ping\",\"ä\":\"😀\"}".as_bytes();
        for cut in 0..=text.len() {
            let mut fragments = Fragments::default();
            let (first, last) = text.split_at(cut);
            for fragment in [
                Item::FirstText(first.to_vec().into()),
                Item::Continue(Vec::new().into()),
            ] {
                assert_eq!(fragments.add(fragment), Ok(None));
            }
            let whole = fragments.add(Item::Last(last.to_vec().into())).unwrap().unwrap();
            assert_eq!(whole.as_bytes(), text);
            assert!(fragments.0.is_empty(), "the next message begins anew");
        }
    }

    #[test]
    fn what_is_too_large_binary_or_not_utf8_closes_the_connection() {
        let piece = |bytes: usize| vec![b'x'; bytes].into();
        let mut fragments = Fragments::default();
        assert_eq!(fragments.add(Item::FirstText(piece(limits::MESSAGE_BYTES))), Ok(None));
        assert_eq!(fragments.add(Item::Continue(piece(0))), Ok(None));
        assert_eq!(fragments.add(Item::Last(piece(1))), Err(Refused::TooLarge));
        assert_eq!(
            Fragments::default().add(Item::FirstBinary(piece(1))),
            Err(Refused::Binary)
        );
        let mut fragments = Fragments::default();
        fragments.add(Item::FirstText(vec![0xe2, 0x82].into())).unwrap();
        assert_eq!(fragments.add(Item::Last(vec![0x28].into())), Err(Refused::NotUtf8));
    }
}
