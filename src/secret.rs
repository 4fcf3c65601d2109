//! Secrets at rest: a value that is stored sealed, and the key that seals and opens it.
//!
//! Purpose: copies of the data folder, such as backups and disk images, do not give away what agents were told in confidence. A key
//! that lies beside the data protects those copies and not the folder itself.
//!
//! Invariant: a sealed value opens only with its key, for the owner and under the name that it was sealed for. Whoever exchanges two
//! stored values gets an error and not the other value.
//!
//! The cipher is XChaCha20-Poly1305. Its nonces have 192 bits and are drawn at random: no count of values that one key seals makes a
//! repetition likely, whereas random nonces of 96 bits would bound it to some billions and a counter would have to be stored.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Names a key without giving it away: the first eight bytes of its SHA-256. Stored with each sealed value, so that a wrong key is
/// told apart from damage.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let hash = Sha256::digest(key);
        Self(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not the stored form of what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not {0}")]
pub struct Malformed(&'static str);

impl FromStr for KeyId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or(Malformed("the id of a key: 16 hex digits"))
    }
}

/// A sealed value, printed as `<key id>.<nonce and ciphertext in base64>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    key: KeyId,
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// The key that opens it.
    pub const fn key(&self) -> KeyId {
        self.key
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.nonce[..], &self.ciphertext].concat();
        write!(f, "{}.{}", self.key, BASE64.encode(bytes))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed with {}", self.key)
    }
}

impl FromStr for Sealed {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed("a sealed value");
        let (key, bytes) = text.split_once('.').ok_or(malformed)?;
        let bytes = BASE64.decode(bytes).map_err(|_| malformed)?;
        let (nonce, ciphertext) = bytes.split_first_chunk().ok_or(malformed)?;
        Ok(Self {
            key: key.parse()?,
            nonce: *nonce,
            ciphertext: ciphertext.to_vec(),
        })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a value cannot be opened. No error has the value in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    #[error(
        "{what} is sealed with key {needed}, and {} holds key {found}: put the file of key {needed} there, or name it with \
         CAXTON_KEY_FILE",
        file.display()
    )]
    OtherKey {
        what: String,
        needed: KeyId,
        found: KeyId,
        file: PathBuf,
    },
    #[error(
        "{what} is sealed with key {needed}, and there is no file {}: put the file of that key there, or name it with \
         CAXTON_KEY_FILE",
        file.display()
    )]
    NoKey { what: String, needed: KeyId, file: PathBuf },
    #[error("{what} is damaged: the key is the right one and does not open it; restore a backup with `caxton restore`")]
    Damaged { what: String },
}

/// Seals and opens with one key.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    id: KeyId,
    /// Where the key lies, for errors. Empty: nowhere.
    file: PathBuf,
    used: AtomicBool,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("id", &self.id)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals with the key that was read from `file`.
    pub fn new(key: &[u8; KEY_BYTES], file: &Path) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(key.into()),
            id: KeyId::of(key),
            file: file.to_owned(),
            used: AtomicBool::new(false),
        }
    }

    /// Seals with a new key that is stored nowhere.
    pub fn ephemeral() -> Self {
        Self::new(&new_key(), Path::new(""))
    }

    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the key has sealed or opened a value, so that something which is stored may need it.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Seals a value for its owner, under its name.
    pub fn seal(&self, value: &str, owner: &str, name: &str) -> Sealed {
        self.used.store(true, Ordering::Release);
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: value.as_bytes(),
            aad: &associated(owner, name),
        };
        let ciphertext = self.cipher.encrypt(&XNonce::from(nonce), payload);
        Sealed {
            key: self.id,
            nonce,
            ciphertext: ciphertext.expect("a value is far below the cipher's limit of 256 GiB"),
        }
    }

    /// Opens a value that was sealed for `owner` under `name`. Errors call it `what`.
    pub fn open(
        &self,
        sealed: &Sealed,
        owner: &str,
        name: &str,
        what: impl Fn() -> String,
    ) -> Result<String, Unopened> {
        self.used.store(true, Ordering::Release);
        if sealed.key != self.id {
            return Err(Unopened::OtherKey {
                what: what(),
                needed: sealed.key,
                found: self.id,
                file: self.file.clone(),
            });
        }
        let payload = Payload {
            msg: &sealed.ciphertext,
            aad: &associated(owner, name),
        };
        let opened = self.cipher.decrypt(&XNonce::from(sealed.nonce), payload).ok();
        opened
            .and_then(|value| String::from_utf8(value).ok())
            .ok_or_else(|| Unopened::Damaged { what: what() })
    }
}

/// A new key, by chance.
pub fn new_key() -> [u8; KEY_BYTES] {
    rand::random()
}

/// What a ciphertext is bound to. The length keeps an owner and a name from being divided in another place.
fn associated(owner: &str, name: &str) -> Vec<u8> {
    let length = u64::try_from(owner.len()).unwrap_or(u64::MAX).to_be_bytes();
    [&length, owner.as_bytes(), name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&[key; KEY_BYTES], Path::new("/data/key"))
    }

    fn what() -> String {
        "TOKEN of agent 'a'".to_owned()
    }

    #[test]
    fn a_value_opens_with_its_key_for_its_owner_and_name_alone() {
        let key = sealer(1);
        assert!(!key.is_used());
        let sealed = key.seal("s3cret", "agent_1", "TOKEN");
        assert!(key.is_used());
        let printed = sealed.to_string();
        assert!(!printed.contains("s3cret") && !format!("{sealed:?} {key:?}").contains("s3cret"));
        let read: Sealed = printed.parse().unwrap();
        assert_eq!(read, sealed);
        let open = |owner, name| key.open(&read, owner, name, what);
        assert_eq!(open("agent_1", "TOKEN").unwrap(), "s3cret");
        for (owner, name) in [
            ("agent_2", "TOKEN"),
            ("agent_1", "TOKE"),
            ("agent_1T", "OKEN"),
            ("", "agent_1TOKEN"),
        ] {
            assert_eq!(open(owner, name), Err(Unopened::Damaged { what: what() }));
        }
    }

    #[test]
    fn no_two_seals_of_a_value_are_alike() {
        let sealer = sealer(1);
        let [one, other] = [(); 2].map(|()| sealer.seal("s3cret", "agent_1", "TOKEN").to_string());
        assert_ne!(one, other);
        assert_eq!(
            sealer
                .seal("", "agent_1", "TOKEN")
                .to_string()
                .parse::<Sealed>()
                .unwrap()
                .key(),
            sealer.id()
        );
    }

    #[test]
    fn a_wrong_key_is_told_apart_from_damage_and_names_its_file() {
        let sealed = sealer(1).seal("s3cret", "agent_1", "TOKEN");
        let other = sealer(2).open(&sealed, "agent_1", "TOKEN", what).unwrap_err();
        assert!(matches!(other, Unopened::OtherKey { .. }), "{other}");
        let said = other.to_string();
        for part in [&*what(), "/data/key", "CAXTON_KEY_FILE", &sealed.key().to_string()] {
            assert!(said.contains(part), "{said}");
        }
        let mut damaged = sealed;
        damaged.ciphertext[0] ^= 1;
        let error = sealer(1).open(&damaged, "agent_1", "TOKEN", what).unwrap_err();
        assert_eq!(error, Unopened::Damaged { what: what() });
    }

    #[test]
    fn a_text_that_is_no_sealed_value_is_refused() {
        let printed = sealer(1).seal("s3cret", "agent_1", "TOKEN").to_string();
        let (id, rest) = printed.split_once('.').unwrap();
        let wrong = [
            String::new(),
            id.to_owned(),
            format!("{id}."),
            format!("{id}.AAAA"),
            format!("{id}.?"),
            format!(
                "{}.{rest}",
                id.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")
            ),
            format!("+{}.{rest}", &id[1..]),
        ];
        for text in wrong {
            assert!(text.parse::<Sealed>().is_err(), "{text}");
        }
    }
}
