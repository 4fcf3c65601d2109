//! `caxton agent validate`.

use std::error::Error;
use std::path::Path;

use crate::agent::spec::{AgentSpec, Ceilings};
use crate::agent::validation::Validation;
use crate::api::validation::{UNNAMED, ValidationView};
use crate::config::Guests;
use crate::error::Finding;
use crate::quantity::Cpu;
use crate::wasm::{Runtime, RuntimeConfig};

/// Reports about a module what a server with the default configuration reports when the module is deployed.
pub(super) async fn validate(file: &Path, config: Option<&Path>, json: bool) -> Result<(), Box<dyn Error>> {
    let read = |file: &Path| std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()));
    let module = read(file)?;
    let spec = config.map(read).transpose()?;
    let spec = AgentSpec::from_json(spec.as_deref().unwrap_or(UNNAMED))?;
    spec.check(&Ceilings::default())?;
    let guests = Guests {
        compiler: Some(std::env::current_exe()?),
        ..Guests::default()
    };
    let runtime = Runtime::new(&RuntimeConfig {
        cache: None,
        ..guests.runtime(Path::new(""))
    })?;
    let metered = matches!(spec.resources.cpu, Some(Cpu::Fuel(_)));
    let compiled = runtime.compile(module.clone().into(), metered).await;
    let validation = Validation::of(&module, &spec, compiled)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&ValidationView::of(&validation))?);
    } else {
        print(file, &validation);
    }
    match validation.findings.len() {
        0 => Ok(()),
        1 => Err("1 finding".into()),
        count => Err(format!("{count} findings").into()),
    }
}

fn print(file: &Path, validation: &Validation) {
    let line = |kind: &str, finding: &Finding| {
        println!(
            "{kind} {}: {}; expected {}",
            finding.rule, finding.found, finding.expected
        );
    };
    validation.findings.iter().for_each(|finding| line("finding", finding));
    validation.warnings.iter().for_each(|warning| line("warning", warning));
    if let Some(accepted) = &validation.accepted {
        let kind = if accepted.component { "component" } else { "core module" };
        println!(
            "{}: a {kind} that can be deployed, {} bytes, {}",
            file.display(),
            validation.size,
            validation.digest
        );
    }
}
