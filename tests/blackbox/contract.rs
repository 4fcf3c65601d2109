//! The server's OpenAPI document as a contract: each request that the server accepts, and each response, must be valid by the
//! document. Every [`Client`](crate::client::Client) of the suite checks all its requests and responses.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jsonschema::Validator;
use reqwest::{Request, Url};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::client::Answer;

pub(crate) struct Contract {
    document: Value,
    /// Validators by the JSON pointers of their schemas.
    validators: Mutex<BTreeMap<String, &'static Validator>>,
}

/// The document, which is the same in every server of the suite.
static CONTRACT: OnceCell<Contract> = OnceCell::const_new();

/// A request as it was sent. The body is None if it was a stream, such as a form.
#[derive(Debug)]
pub(crate) struct Sent {
    method: String,
    url: Url,
    media: Option<String>,
    has_key: bool,
    body: Option<Vec<u8>>,
    has_body: bool,
}

impl Sent {
    pub(crate) fn of(request: &Request) -> Self {
        let media = request.headers().get("content-type");
        Self {
            method: request.method().to_string(),
            url: request.url().clone(),
            media: media.map(|media| essence(media.to_str().unwrap())),
            has_key: request.headers().contains_key("idempotency-key"),
            body: request.body().and_then(|body| body.as_bytes()).map(<[u8]>::to_vec),
            // An empty body is none, whatever media type is given.
            has_body: request.body().is_some_and(|body| body.as_bytes() != Some(&[])),
        }
    }
}

/// A media type without its parameters.
fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_lowercase()
}

impl Contract {
    /// The document of the server at `url`. None: the server is gone.
    pub(crate) async fn of(http: &reqwest::Client, url: &Url) -> Option<&'static Self> {
        let read = async || {
            let answer = http.get(url.join("/openapi.json").unwrap()).send().await?;
            Ok::<_, reqwest::Error>(Self {
                document: answer.json().await?,
                validators: Mutex::default(),
            })
        };
        CONTRACT.get_or_try_init(read).await.ok()
    }

    /// The names of all operations in the document, such as `GET /path/{id}`.
    pub(crate) fn operations(&self) -> Vec<String> {
        let items = self.document["paths"].as_object().unwrap().iter();
        let names = items.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        names.collect()
    }

    /// Checks a request and its response. Returns the name of their operation, if the document has it.
    pub(crate) fn check(&self, sent: &Sent, answer: &Answer) -> Option<String> {
        let method = sent.method.to_lowercase();
        let path = self.template(sent.url.path())?;
        let pointer = format!("/paths/{}/{method}", path.replace('~', "~0").replace('/', "~1"));
        let operation = self.document.pointer(&pointer)?;
        let place = format!("{} {path}", sent.method);
        if (200..300).contains(&answer.status) {
            self.check_query(&pointer, operation, sent, &place);
            self.check_body(&pointer, operation, sent, &place);
        }
        self.check_answer(&pointer, operation, answer, &place);
        Some(place)
    }

    /// The path in the document to which a request belongs. A path with a fixed word is preferred to one with a parameter.
    fn template(&self, path: &str) -> Option<&str> {
        let fits = |template: &&str| {
            let (wanted, given) = (template.split('/'), path.split('/'));
            template.split('/').count() == path.split('/').count()
                && wanted
                    .zip(given)
                    .all(|(wanted, given)| wanted == given || wanted.starts_with('{'))
        };
        let mut templates: Vec<_> = self.document["paths"].as_object()?.keys().map(String::as_str).collect();
        templates.sort_unstable();
        templates.into_iter().find(fits)
    }

    fn check_query(&self, pointer: &str, operation: &Value, sent: &Sent, place: &str) {
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let known = |kind: &str, name: &str| {
            let same = |parameter: &Value| {
                parameter["in"] == kind && parameter["name"].as_str().unwrap().eq_ignore_ascii_case(name)
            };
            parameters.iter().position(same)
        };
        for (name, text) in sent.url.query_pairs() {
            let at = known("query", &name).unwrap_or_else(|| panic!("{place}: `{name}` is not in the document"));
            let schema = format!("{pointer}/parameters/{at}/schema");
            let as_json = serde_json::from_str(&text).unwrap_or(Value::Null);
            let either = [as_json, Value::String(text.to_string())];
            assert!(
                either.iter().any(|value| self.validator(&schema).is_valid(value)),
                "{place}: {name}={text} is not as documented"
            );
        }
        if sent.has_key {
            assert!(known("header", "idempotency-key").is_some(), "{place}: it takes no key");
        }
    }

    fn check_body(&self, pointer: &str, operation: &Value, sent: &Sent, place: &str) {
        let documented = &operation["requestBody"];
        if !sent.has_body {
            assert_ne!(documented["required"], true, "{place}: it has no body");
            return;
        }
        let media = sent.media.as_deref().unwrap_or("application/json");
        let content = documented["content"].as_object();
        assert!(
            content.is_some_and(|content| content.contains_key(media)),
            "{place}: no body of {media} is documented"
        );
        let bytes = sent
            .body
            .as_deref()
            .filter(|bytes| media == "application/json" && !bytes.is_empty());
        let Some(bytes) = bytes else { return };
        let mut body = serde_json::from_slice(bytes).unwrap();
        if let Value::Object(members) = &mut body {
            null_is_absent(members);
        }
        let schema = format!("{pointer}/requestBody/content/{}/schema", media.replace('/', "~1"));
        self.is_valid(&schema, &body, &format!("{place}: its request"));
    }

    fn check_answer(&self, pointer: &str, operation: &Value, answer: &Answer, place: &str) {
        let status = answer.status.to_string();
        let place = format!("{place}: its {status}");
        let documented = &operation["responses"][&status];
        assert!(
            documented.is_object(),
            "{place} is not in the document: {:#}",
            answer.body
        );
        let Some(media) = answer.headers.get("content-type") else {
            return;
        };
        let media = essence(media.to_str().unwrap());
        let has = documented["content"]
            .as_object()
            .is_some_and(|content| content.contains_key(&media));
        assert!(has, "{place} has {media}, which is not in the document");
        let schema = format!(
            "{pointer}/responses/{status}/content/{}/schema",
            media.replace('/', "~1")
        );
        if media == "application/x-ndjson"
            && let Some(lines) = answer.body.as_str()
        {
            for line in lines.lines() {
                self.is_valid(&schema, &serde_json::from_str(line).unwrap(), &place);
            }
        } else if !(media == "application/json" && answer.body.is_string()) {
            self.is_valid(&schema, &answer.body, &place);
        }
        // No response is a JSON text. A body that is one is JSON that this client cannot read: a number out of its range, or a depth
        // beyond its limit, as an agent wrote it.
    }

    #[track_caller]
    fn is_valid(&self, schema: &str, value: &Value, place: &str) {
        let problems: Vec<_> = self
            .validator(schema)
            .iter_errors(value)
            .map(|problem| format!("{} {problem}", problem.instance_path()))
            .collect();
        assert!(
            problems.is_empty(),
            "{place} is not as documented: {problems:#?}\n{value:#}"
        );
    }

    fn validator(&self, pointer: &str) -> &'static Validator {
        let mut validators = self.validators.lock().unwrap();
        validators.entry(pointer.to_owned()).or_insert_with(|| {
            let schema = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": self.document["components"],
                "allOf": [self.document.pointer(pointer)],
            });
            // Leaked, because the validators live as long as the process.
            Box::leak(Box::new(jsonschema::validator_for(&schema).unwrap()))
        })
    }
}

/// Removes members that are null, at any depth: in a request, null means absent. The content of a message stays as it is.
fn null_is_absent(members: &mut Map<String, Value>) {
    members.retain(|_, member| !member.is_null());
    for (name, member) in members {
        if let Value::Object(members) = member
            && name != "content"
        {
            null_is_absent(members);
        }
    }
}
