//! Rust source as tokens, which all rules read: without comments, and without what only tests compile.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word,
    /// The content of a string literal, escapes as they are written.
    Literal,
    /// `::`, `->`, `=>`, or a single character.
    Mark,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }

    pub(crate) fn word(&self) -> Option<&str> {
        (self.kind == Kind::Word).then_some(self.text.as_str())
    }
}

/// Whether the tokens begin with those of these texts.
pub(crate) fn begins(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// The index behind the bracket that closes the one at `open`.
pub(crate) fn closed(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Mark {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Whether a file is `place.rs` or in the folder `place`. Every file is below the empty place.
pub(crate) fn below(file: &str, place: &str) -> bool {
    file.strip_prefix(place)
        .is_some_and(|rest| place.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

/// The texts of the `.rs` files below a folder of the repository, by their path in it.
pub(crate) fn texts(folder: &str) -> BTreeMap<String, String> {
    let root = &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// The tokens of a file that are compiled without `cfg(test)`.
pub(crate) fn shipped(text: &str) -> Vec<Token> {
    let tokens = tokens(text);
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if begins(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = behind_item(&tokens, closed(&tokens, at + 1));
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The index behind the item, field, variant or statement that begins at `at`, its further attributes included.
fn behind_item(tokens: &[Token], mut at: usize) -> usize {
    while begins(&tokens[at..], &["#", "["]) {
        at = closed(tokens, at + 1);
    }
    let (mut angles, mut commas_end) = (0, true);
    while let Some(token) = tokens.get(at) {
        match (&token.kind, token.text.as_str()) {
            (Kind::Mark, "(" | "[") => at = closed(tokens, at),
            (Kind::Mark, "{") => return closed(tokens, at),
            (Kind::Mark, ";") => return at + 1,
            (Kind::Mark, ",") if angles == 0 && commas_end => return at + 1,
            // A last field or variant may end without a comma, at the bracket of its group.
            (Kind::Mark, ")" | "]" | "}") => return at,
            (kind, text) => {
                match (kind, text) {
                    (Kind::Mark, "<") => angles += 1,
                    (Kind::Mark, ">") => angles -= 1,
                    // Bounds are separated by commas, so that from here on only the body ends the item.
                    (Kind::Word, "where") => commas_end = false,
                    _ => {}
                }
                at += 1;
            }
        }
    }
    at
}

#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// The indices of its tokens, from the word `fn` to the end of its body.
    pub(crate) range: Range<usize>,
}

/// All functions in the order of their beginnings. A function within another one is in the list as well.
pub(crate) fn functions(tokens: &[Token]) -> Vec<Function<'_>> {
    let function = |at: usize| {
        let name = tokens.get(at + 1)?.word()?;
        tokens[at].is("fn").then(|| Function {
            name,
            range: at..behind_item(tokens, at),
        })
    };
    (0..tokens.len()).filter_map(function).collect()
}

/// The tokens outside of `use …;`, each with its index.
pub(crate) fn without_imports(tokens: &[Token]) -> impl Iterator<Item = (usize, &Token)> {
    let mut imports = false;
    tokens.iter().enumerate().filter(move |(at, token)| {
        // `use<'a>` is a bound of a type.
        let begins = token.is("use") && !begins(&tokens[at + 1..], &["<"]);
        imports = (imports || begins) && !token.is(";");
        !imports
    })
}

/// All tokens but comments, character literals and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader {
        rest: text,
        line: 1,
        tokens: Vec::new(),
    };
    while let Some(first) = reader.rest.chars().next() {
        reader.step(first);
    }
    reader.tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Reader<'a> {
    fn step(&mut self, first: char) {
        if first.is_whitespace() {
            self.take(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.comment();
        } else if first == '"' {
            self.quoted();
        } else if first == '\'' {
            self.apostrophe();
        } else if first == '_' || first.is_alphanumeric() {
            self.word();
        } else {
            let pair = ["::", "->", "=>"].iter().any(|pair| self.rest.starts_with(pair));
            self.push(Kind::Mark, if pair { 2 } else { first.len_utf8() });
        }
    }

    /// Goes on by so many bytes, which it returns.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn push(&mut self, kind: Kind, bytes: usize) {
        let line = self.line;
        let text = self.take(bytes).to_owned();
        self.tokens.push(Token { kind, text, line });
    }

    /// A block comment, which may have others in it.
    fn comment(&mut self) {
        let mut depth = 0;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
            } else {
                self.take(self.rest.chars().next().map_or(0, char::len_utf8));
            }
            if depth == 0 || self.rest.is_empty() {
                return;
            }
        }
    }

    fn quoted(&mut self) {
        self.take(1);
        let mut escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        self.push(Kind::Literal, end.unwrap_or(self.rest.len()));
        self.take(usize::from(!self.rest.is_empty()));
    }

    /// A character or a lifetime.
    fn apostrophe(&mut self) {
        self.take(1);
        let mut chars = self.rest.chars();
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') {
            // What is escaped may itself be an apostrophe.
            self.take(2);
            self.take(self.rest.find('\'').map_or(self.rest.len(), |end| end + 1));
        } else if second == Some('\'') {
            self.take(first.map_or(0, char::len_utf8) + 1);
        } else {
            self.take(word_length(self.rest));
        }
    }

    fn word(&mut self) {
        let length = word_length(self.rest);
        let (word, behind) = self.rest.split_at(length);
        let hashes = behind.len() - behind.trim_start_matches('#').len();
        if matches!(word, "r" | "br" | "cr") && behind[hashes..].starts_with('"') {
            self.take(length + hashes + 1);
            let close = format!("\"{}", "#".repeat(hashes));
            self.push(Kind::Literal, self.rest.find(&close).unwrap_or(self.rest.len()));
            self.take(close.len().min(self.rest.len()));
        } else if word == "r" && hashes == 1 {
            self.take(2);
            self.push(Kind::Word, word_length(self.rest));
        } else if matches!(word, "b" | "c") && behind.starts_with(['"', '\'']) {
            // The prefix of a literal, which the next step reads.
            self.take(1);
        } else {
            self.push(Kind::Word, length);
        }
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let texts: Vec<_> = shipped(text)
            .into_iter()
            .map(|token| match token.kind {
                Kind::Literal => format!("\"{}\"", token.text),
                Kind::Word | Kind::Mark => token.text,
            })
            .collect();
        texts.join(" ")
    }

    #[test]
    fn comments_are_no_code_and_strings_are_one_token() {
        assert_eq!(read("a // b\n/* c /* d */ e */ f"), "a f");
        assert_eq!(read(r#"x("// \" y")"#), r#"x ( "// \" y" )"#);
        assert_eq!(read(r##"r#"a "quoted" b"# r#type b"c""##), r#""a "quoted" b" type "c""#);
    }

    #[test]
    fn an_apostrophe_begins_a_character_or_a_lifetime() {
        assert_eq!(read(r"['\'', '{', b'\\', '\u{7f}', 'é'] x"), "[ , , , , ] x");
        assert_eq!(read("fn f<'a>(x: &'a str) -> char"), "fn f < > ( x : & str ) -> char");
    }

    #[test]
    fn a_guarded_item_is_left_out_and_the_next_one_is_not() {
        assert_eq!(read("#[cfg(test)] mod tests; mod a;"), "mod a ;");
        assert_eq!(
            read("#[cfg(test)]\n#[allow(x)]\nmod tests { fn f() {} } fn g() {}"),
            "fn g ( ) { }"
        );
        assert_eq!(
            read("struct S { #[cfg(test)] pub a: Map<K, V>, b: u8, #[cfg(test)] c: [u8; 3] } x"),
            "struct S { b : u8 , } x"
        );
        assert_eq!(
            read("#[cfg(test)] fn f<A, B>(a: A) -> Map<A, B> where A: C, B: D { a } fn g() {}"),
            "fn g ( ) { }"
        );
    }

    #[test]
    fn functions_are_found_with_their_bodies() {
        let tokens =
            shipped("fn a<T>(f: fn(u8) -> T) -> T where T: A, u8: B { fn b() {} } impl X { fn c(); } fn d() {}");
        let found: Vec<_> = functions(&tokens)
            .iter()
            .map(|function| format!("{} {}", function.name, tokens[function.range.end - 1].text))
            .collect();
        assert_eq!(found, ["a }", "b }", "c ;", "d }"]);
        let inner: Vec<_> = functions(&tokens).iter().map(|function| function.range.len()).collect();
        assert!(inner[0] > inner[1]);
    }

    #[test]
    fn imports_can_be_left_out() {
        let tokens = shipped("use a::b; fn f() -> impl C + use<'_> { use d::{e, g}; h }");
        let words: Vec<_> = without_imports(&tokens).filter_map(|(_, token)| token.word()).collect();
        assert_eq!(words, ["fn", "f", "impl", "C", "use", "h"]);
    }

    #[test]
    fn a_token_knows_its_line() {
        let lines: Vec<_> = shipped("a\n\"b\nb\" /*\n*/ c").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
