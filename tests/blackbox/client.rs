//! A caller of the REST API.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::contract::{Contract, Sent};
use crate::guests;
use crate::harness::{PATIENCE, until};

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

/// A response of the server: a success or an error.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    /// The operation of the OpenAPI document, such as `GET /api/v1/agents/{id}`. None if the document does not have it.
    pub operation: Option<String>,
}

impl Answer {
    /// The body of a successful response.
    #[track_caller]
    pub(crate) fn good(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {:#}", self.status, self.body);
        self.body
    }

    /// The error in a response with this status and code. Its envelope is checked.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        let error = &self.body["error"];
        assert_eq!(
            (self.status, error["code"].as_str()),
            (status, Some(code)),
            "{:#}",
            self.body
        );
        assert!(
            error["message"].as_str().is_some_and(|text| text.len() > 10),
            "no sentence: {error:#}"
        );
        assert!(error["details"].is_object(), "no details: {error:#}");
        let trace = error["trace_id"].as_str().unwrap_or_default();
        assert!(
            trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()),
            "no trace id: {error:#}"
        );
        error.clone()
    }
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            http: reqwest::Client::builder().timeout(PATIENCE).build().unwrap(),
            base: base.to_owned(),
        }
    }

    /// The URL of a REST path.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The URL of a WebSocket path.
    pub(crate) fn websocket_url(&self, path: &str) -> String {
        format!("{}{path}", self.base.replacen("http", "ws", 1))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request, and checks it and its response against the OpenAPI document. None: there is no server, or it ended
    /// meanwhile.
    pub(crate) async fn try_answer(request: RequestBuilder) -> Option<Answer> {
        let (http, request) = request.build_split();
        let request = request.unwrap();
        let sent = Sent::of(&request);
        let contract = Contract::of(&http, request.url()).await;
        let response = http.execute(request).await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.ok()?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        let mut answer = Answer {
            status,
            headers,
            body,
            operation: None,
        };
        answer.operation = contract.and_then(|contract| contract.check(&sent, &answer));
        Some(answer)
    }

    async fn answer(request: RequestBuilder) -> Answer {
        Self::try_answer(request).await.expect("the server answers")
    }

    pub(crate) async fn call(&self, method: Method, path: &str) -> Answer {
        Self::answer(self.request(method, path)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::answer(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn post_text(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, content_type);
        Self::answer(request.body(body)).await
    }

    pub(crate) async fn post_form(&self, form: Form) -> Answer {
        Self::answer(self.request(Method::POST, "/api/v1/agents").multipart(form)).await
    }

    /// Deploys as in the API reference: with a form that has the parts `wasm` and `config`.
    pub(crate) async fn try_deploy(&self, config: &Value, module: impl Into<Vec<u8>>) -> Answer {
        let wasm = Part::bytes(module.into()).file_name("agent.wasm");
        self.post_form(Form::new().part("wasm", wasm).text("config", config.to_string()))
            .await
    }

    /// Deploys an example agent under a name, with every permission, and returns its id.
    pub(crate) async fn deploy(&self, name: &str, guest: &str) -> String {
        self.deploy_as(json!({"name": name}), guests::example(guest)).await
    }

    /// Deploys with a configuration. If it has no permissions, the agent gets all of them.
    pub(crate) async fn deploy_as(&self, mut config: Value, module: Vec<u8>) -> String {
        if config.get("permissions").is_none() {
            config["permissions"] = json!({
                "message": ["*"], "state": true, "random": true, "timers": true, "environment": true, "directory": true,
            });
        }
        let agent = self.try_deploy(&config, module).await.good();
        agent["agent_id"].as_str().unwrap().to_owned()
    }

    /// Sends a request of the client `sender`, and returns its message id.
    pub(crate) async fn send(&self, receiver: &str, content: &Value) -> String {
        let sent = self.post("/api/v1/messages", &request(receiver, content)).await.good();
        sent["message_id"].as_str().unwrap().to_owned()
    }

    /// Sends a request and returns the reply.
    pub(crate) async fn ask(&self, receiver: &str, content: &Value) -> Value {
        let answer = self
            .post("/api/v1/messages/wait?timeout_seconds=30", &request(receiver, content))
            .await;
        answer.good()["reply"].clone()
    }

    /// Sends a request, checks that the agent replied with an `inform`, and returns its content.
    pub(crate) async fn told(&self, receiver: &str, content: &Value) -> Value {
        let reply = self.ask(receiver, content).await;
        assert_eq!(reply["performative"], "inform", "{reply:#}");
        reply["content"].clone()
    }

    /// Sends a request, checks that the platform replied with a failure of this reason, and returns its detail.
    pub(crate) async fn failure(&self, receiver: &str, reason: &str) -> String {
        let reply = self.ask(receiver, &json!("work")).await;
        let content = &reply["content"];
        assert_eq!(
            (&reply["performative"], &content["reason"]),
            (&json!("failure"), &json!(reason)),
            "{reply:#}"
        );
        content["detail"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn agent(&self, key: &str) -> Value {
        self.get(&format!("/api/v1/agents/{key}")).await.good()
    }

    /// The ids of all agents.
    pub(crate) async fn agent_ids(&self) -> Vec<String> {
        let page = self.get("/api/v1/agents?limit=1000").await.good();
        let agents = page["agents"].as_array().unwrap();
        let mut ids: Vec<_> = agents
            .iter()
            .map(|agent| agent["agent_id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    pub(crate) async fn until_status(&self, key: &str, status: &str) -> Value {
        until(&format!("{key} is {status}"), async || {
            let agent = self.agent(key).await;
            (agent["status"] == status).then_some(agent)
        })
        .await
    }

    /// The message once no agent has it in its mailbox.
    pub(crate) async fn until_settled(&self, message_id: &str) -> Value {
        until(&format!("{message_id} is settled"), async || {
            let message = self.get(&format!("/api/v1/messages/{message_id}")).await.good();
            (message["status"] != "delivered").then_some(message)
        })
        .await
    }

    /// All messages of the history that match `query`, read in pages.
    pub(crate) async fn history(&self, query: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self
                .get(&format!("/api/v1/messages?limit=1000&{query}{cursor}"))
                .await
                .good();
            messages.extend(page["messages"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return messages,
            }
        }
    }

    /// The agent's node in the supervision tree.
    pub(crate) async fn in_tree(&self, name: &str) -> Option<Value> {
        fn find(node: &Value, end: &str) -> Option<Value> {
            if node["path"].as_str().is_some_and(|path| path.ends_with(end)) {
                return Some(node.clone());
            }
            node["children"].as_array()?.iter().find_map(|child| find(child, end))
        }
        let tree = self.get("/api/v1/supervision/tree").await.good();
        find(&tree, &format!("/agents/{name}"))
    }

    /// The value of the first Prometheus series of this name that has all these labels.
    pub(crate) async fn series(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let answer = self.get("/metrics").await.good();
        let text = answer.as_str().unwrap_or_default();
        let wanted = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        let line = text.lines().find(wanted)?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// A request of a client to an agent.
pub(crate) fn request(receiver: &str, content: &Value) -> Value {
    json!({"performative": "request", "sender": "tester", "receiver": receiver, "content": content})
}
