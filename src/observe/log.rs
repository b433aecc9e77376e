//! Logging through `tracing` to standard error, as text for people or JSON for machines. Any thread but a worker logs.
//!
//! A call's lines carry its Call-ID: whoever handles a call enters `call_span` first.

use std::io::IsTerminal;

use tracing::Span;
use tracing_subscriber::{EnvFilter, Layer, fmt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level {level:?}: {source}")]
    Filter { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging: {0}")]
    Install(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process; a second call is an error.
pub fn init(config: &Log) -> Result<(), LogError> {
    let filter =
        EnvFilter::try_new(&config.level).map_err(|source| LogError::Filter { level: config.level.clone(), source })?;
    // systemd.exec(5): JOURNAL_STREAM is set where stderr goes to the journal, which stamps each line itself.
    let style = Style {
        colour: std::io::stderr().is_terminal(),
        time: std::env::var_os("JOURNAL_STREAM").is_none(),
        format: config.format,
    };
    tracing_subscriber::registry().with(layer(style, std::io::stderr).with_filter(filter)).try_init()?;
    Ok(())
}

/// The span of one call: every line inside it carries `call_id`.
pub fn call_span(call_id: &str) -> Span {
    tracing::info_span!("call", call_id = %call_id)
}

#[derive(Clone, Copy)]
struct Style {
    colour: bool,
    time: bool,
    format: LogFormat,
}

fn layer<S, W>(style: Style, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let base = fmt::layer().with_writer(writer).with_ansi(style.colour && style.format == LogFormat::Text);
    match (style.format, style.time) {
        (LogFormat::Text, true) => base.boxed(),
        (LogFormat::Text, false) => base.without_time().boxed(),
        (LogFormat::Json, _) => base.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let style = Style { colour: false, time: false, format };
        let subscriber = tracing_subscriber::registry().with(layer(style, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let _call = call_span("a84b4c76e66710@pc33.example").entered();
            tracing::warn!(leg = "b", "no answer");
        });
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_carry_the_call_id_and_no_colour() {
        assert_eq!(
            logged(LogFormat::Text),
            " WARN call{call_id=a84b4c76e66710@pc33.example}: tandem::observe::log::tests: no answer leg=\"b\"\n"
        );
    }

    #[test]
    fn json_lines_carry_the_call_id() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json)).unwrap();
        assert_eq!(line["span"]["call_id"], "a84b4c76e66710@pc33.example");
        assert_eq!(line["message"], "no answer");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["leg"], "b");
    }
}
