//! `ueo inspect --machine`: what computes here, and how fast it was found to be.

use serde::Serialize;
use ueo::Device;
use ueo::model::ModelError;
use ueo::session::SessionError;
use ueo_kernels::EngineDescription;

use super::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::tables;

/// The engine of this machine, as JSON or as a table.
#[derive(Serialize)]
struct Machine {
    devices: Vec<NamedDevice>,
    threads: usize,
    instruction_set: &'static str,
    /// Bytes of the caches that blocks of products are made for, by level.
    cache_bytes: [Option<usize>; 3],
    products: Vec<Products>,
    warnings: Vec<String>,
}

/// A value of `--device`.
#[derive(Serialize)]
struct NamedDevice {
    name: String,
    description: String,
}

/// How products with frozen weights are computed in one precision.
#[derive(Serialize)]
struct Products {
    precision: String,
    instruction_set: &'static str,
    method: &'static str,
    /// Of one thread, for every way that was tried.
    gflops_per_sec: Vec<(&'static str, f64)>,
}

/// Shows it.
///
/// # Errors
///
/// When `UEO_INSTRUCTION_SET` names what this processor does not have, or stdout cannot be written.
pub fn show(as_json: bool, context: &Context) -> Result<Ending, CliError> {
    let engine = EngineDescription::detect()
        .map_err(|error| SessionError::from(ModelError::InstructionSet(error)))?;
    let machine = Machine::new(&engine, context);
    for warning in &machine.warnings {
        context.printer.warning(warning);
    }
    let text = match as_json {
        true => serde_json::to_string_pretty(&machine)?,
        false => machine.table(),
    };
    context.printer.data(text).map_err(CliError::Stdout)?;
    Ok(Ending::Complete)
}

impl Machine {
    fn new(engine: &EngineDescription, context: &Context) -> Self {
        let devices = Device::all().into_iter().map(|device| NamedDevice {
            name: device.name,
            description: device.description,
        });
        let caches = &engine.caches;
        let products = engine.products.iter().map(|path| Products {
            precision: path.precision.name().to_owned(),
            instruction_set: path.instruction_set.name(),
            method: path.method(),
            gflops_per_sec: path
                .measured
                .iter()
                .map(|rate| (rate.instruction_set.name(), rate.gflops_per_sec))
                .collect(),
        });
        Self {
            devices: devices.collect(),
            threads: context.threads,
            instruction_set: engine.instruction_set.name(),
            cache_bytes: [caches.first_level, caches.second_level, caches.third_level],
            products: products.collect(),
            warnings: engine.warnings(),
        }
    }

    fn table(&self) -> String {
        const KIB: usize = 1 << 10;
        let caches = self.cache_bytes.iter().flatten();
        let caches: Vec<String> = caches.map(|bytes| format!("{} KiB", bytes / KIB)).collect();
        let devices = self.devices.iter();
        let devices: Vec<String> = devices
            .map(|device| format!("{}: {}", device.name, device.description))
            .collect();
        let mut facts = vec![
            ("devices", devices.join("\n")),
            ("threads", self.threads.to_string()),
            ("instruction set", self.instruction_set.to_owned()),
            ("caches", caches.join(", ")),
        ];
        facts.extend(self.products.iter().map(|products| {
            let rates: Vec<String> = products
                .gflops_per_sec
                .iter()
                .map(|(name, rate)| format!("{name} {rate:.0}"))
                .collect();
            (
                "products",
                format!(
                    "{}: {} on {}; GFLOP/s of one thread: {}",
                    products.precision,
                    products.method,
                    products.instruction_set,
                    rates.join(", ")
                ),
            )
        }));
        tables::facts(facts)
    }
}
