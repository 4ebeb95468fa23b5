//! `wasi:config/store`: values the operator grants with the plugin. They are part of the grant document, whose digest is in every
//! record, and never change while a step runs: reading them touches nothing, needs no transcript, and a re-run takes them from the
//! document.

use crate::bindings::capabilities::config;
use crate::guest::Guest;

impl config::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        let value = self.config.get(&key).cloned();
        self.charge(key.len() + value.as_ref().map_or(0, String::len));
        Ok(Ok(value))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        let all: Vec<_> = self.config.clone().into_iter().collect();
        self.charge(all.iter().map(|(key, value)| key.len() + value.len()).sum());
        Ok(Ok(all))
    }
}
