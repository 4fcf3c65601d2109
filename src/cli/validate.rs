//! `caxton agent validate`.

use std::error::Error;
use std::path::Path;

use super::{Checked, output};
use crate::agent::spec::{AgentSpec, Ceilings};
use crate::agent::validation::Validation;
use crate::api::validation::{UNNAMED, ValidationView};
use crate::config::Guests;
use crate::error::Finding;
use crate::quantity::Cpu;
use crate::wasm::{Runtime, RuntimeConfig};

/// Reports about a module what a server with the default configuration reports when the module is deployed.
pub(super) async fn validate(file: &Path, config: Option<&Path>, json: bool) -> Result<Checked, Box<dyn Error>> {
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
        output::print(&serde_json::to_string_pretty(&ValidationView::of(&validation))?)?;
    } else {
        print(file, &validation)?;
    }
    match validation.findings.len() {
        0 => Ok(Checked::Sound),
        count => Ok(Checked::Findings(count)),
    }
}

fn print(file: &Path, validation: &Validation) -> std::io::Result<()> {
    let line = |kind: &str, finding: &Finding| {
        output::print(&format!(
            "{kind} {}: {}; expected {}",
            finding.rule, finding.found, finding.expected
        ))
    };
    for finding in &validation.findings {
        line("finding", finding)?;
    }
    for warning in &validation.warnings {
        line("warning", warning)?;
    }
    if let Some(accepted) = &validation.accepted {
        let kind = if accepted.component { "component" } else { "core module" };
        output::print(&format!(
            "{}: a {kind} that can be deployed, {} bytes, {}",
            file.display(),
            validation.size,
            validation.digest
        ))?;
    }
    Ok(())
}
