use super::*;
use crate::quantity::Cpu;

fn problem(json: &str) -> String {
    AgentSpec::from_json(json.as_bytes())
        .and_then(|spec| spec.check(&Ceilings::default()))
        .unwrap_err()
        .to_string()
}

#[test]
fn the_reference_example_is_read() {
    let json = br#"{"name":"my-agent","strategy":"immediate","resources":{"memory":"50MB","cpu":"100000"}}"#;
    let spec = AgentSpec::from_json(json).unwrap();
    spec.check(&Ceilings::default()).unwrap();
    assert_eq!(spec.resources.memory.bytes(), 50_000_000);
    assert_eq!(spec.resources.cpu, Some(Cpu::Fuel(100_000)));
}

#[test]
fn null_means_absent() {
    let spec =
        AgentSpec::from_json(br#"{"name":"a","version":null,"resources":{"cpu":null},"permissions":null}"#).unwrap();
    assert_eq!(spec.resources, Resources::default());
}

#[test]
fn bad_declarations_name_the_key_and_the_mend() {
    assert!(problem("{}").contains("name"));
    assert!(problem(r#"{"name":"a","colour":"red"}"#).contains("colour"));
    assert!(problem(r#"{"name":"a","resources":{"memory":"much"}}"#).contains("config.resources.memory"));
    assert!(problem(r#"{"name":"a","resources":{"memory":"2GiB"}}"#).contains("config.resources.memory"));
    assert!(problem(r#"{"name":"a","resources":{"mailbox_messages":0}}"#).contains("mailbox_messages"));
    assert!(problem(r#"{"name":"a","permissions":{"message":["[a"]}}"#).contains("permissions.message"));
    assert!(problem(r#"{"name":"a","supervision":{"backoff":{"factor":0.5}}}"#).contains("backoff"));
    assert!(problem("nonsense").contains("config"));
}
