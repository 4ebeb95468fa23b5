//! `wasi:random`, all of it from the seed in the record: `ChaCha20` with one stream for each interface, so that what one of them
//! gives does not depend on how often the others were asked.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p3::bindings::random as random_0_3;

use crate::guest::Guest;
use crate::limits::RANDOM_BYTES_MAX;

/// Streams of the generator. They are part of what a replay needs: never renumber them.
const SECURE_STREAM: u64 = 1;
const INSECURE_STREAM: u64 = 2;
const INSECURE_SEED_STREAM: u64 = 3;

/// The generators of one guest, made when first asked.
pub(crate) struct Random {
    seed: [u8; 32],
    secure: Option<Box<ChaCha20Rng>>,
    insecure: Option<Box<ChaCha20Rng>>,
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            secure: None,
            insecure: None,
        }
    }

    fn generator(seed: [u8; 32], stream: u64) -> ChaCha20Rng {
        let mut generator = ChaCha20Rng::from_seed(seed);
        generator.set_stream(stream);
        generator
    }

    fn secure(&mut self) -> &mut ChaCha20Rng {
        self.secure
            .get_or_insert_with(|| Box::new(Self::generator(self.seed, SECURE_STREAM)))
    }

    fn insecure(&mut self) -> &mut ChaCha20Rng {
        self.insecure
            .get_or_insert_with(|| Box::new(Self::generator(self.seed, INSECURE_STREAM)))
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    random::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    insecure::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    insecure_seed::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// The same of WASI 0.3: the same streams too.
pub(crate) fn add_wasi_0_3_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    random_0_3::random::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    random_0_3::insecure::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    random_0_3::insecure_seed::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// An empty buffer of the size asked for, if the host is willing.
fn buffer(guest: &mut Guest, len: u64) -> wasmtime::Result<Vec<u8>> {
    if len > RANDOM_BYTES_MAX {
        return Err(wasmtime::Error::msg(format!(
            "{len} random bytes were asked for at once; the host gives at most {RANDOM_BYTES_MAX}"
        )));
    }
    let len = usize::try_from(len)?;
    guest.charge(len);
    Ok(vec![0; len])
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = buffer(self, len)?;
        self.random.secure().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.charge(8);
        Ok(self.random.secure().next_u64())
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = buffer(self, len)?;
        self.random.insecure().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.charge(8);
        Ok(self.random.insecure().next_u64())
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.charge(16);
        let mut generator = Random::generator(self.random.seed, INSECURE_SEED_STREAM);
        Ok((generator.next_u64(), generator.next_u64()))
    }
}

impl random_0_3::random::Host for Guest {
    fn get_random_bytes(&mut self, len_max: u64) -> wasmtime::Result<Vec<u8>> {
        random::Host::get_random_bytes(self, len_max.min(RANDOM_BYTES_MAX))
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        random::Host::get_random_u64(self)
    }
}

impl random_0_3::insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, len_max: u64) -> wasmtime::Result<Vec<u8>> {
        insecure::Host::get_insecure_random_bytes(self, len_max.min(RANDOM_BYTES_MAX))
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        insecure::Host::get_insecure_random_u64(self)
    }
}

impl random_0_3::insecure_seed::Host for Guest {
    fn get_insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        insecure_seed::Host::insecure_seed(self)
    }
}
