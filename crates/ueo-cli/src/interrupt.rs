//! Ctrl-C: the first press asks the work to stop where it can be resumed, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::exit::INTERRUPTED;
use crate::printer::Printer;

/// Whether the user has asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The operating system refused to tell about Ctrl-C.
#[derive(Debug, Error)]
#[error("Ctrl-C cannot be listened to")]
pub struct InterruptError(#[from] ctrlc::Error);

impl Interrupt {
    /// Listens from now on, also to the request to terminate that process managers send.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn listen(printer: &Printer) -> Result<Self, InterruptError> {
        // The operating system tells one listener only, and a command may have several passes.
        static LISTENING: OnceLock<Interrupt> = OnceLock::new();
        if let Some(interrupt) = LISTENING.get() {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::default();
        let requested = interrupt.clone();
        let printer = printer.clone();
        ctrlc::set_handler(move || {
            if requested.0.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
            printer.message("stopping after this batch; press Ctrl-C again to end at once");
        })?;
        Ok(LISTENING.get_or_init(|| interrupt).clone())
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
