//! The part of WASI 0.2 and 0.3 that toolchains pull in, with nothing behind it: no files, no environment, no arguments, an
//! ended stdin, sockets that refuse; stdout and stderr go into the log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, sockets};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::p3;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiView as _};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bindings::wasi::io::{error, streams};
use wasmtime_wasi_io::bytes::Bytes;

use crate::capability::logging::Printed;
use crate::guest::{Guest, Shared};

/// Bytes stdout and stderr take in one write.
const PRINT_BYTES_MAX: usize = 16 << 10;

/// Gives the resource table to `wasi:io`.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links everything but clocks, polling and randomness, which have files of their own.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let l = linker;
    error::add_to_linker::<Guest, Table>(l, |guest| guest.ctx().table)?;
    streams::add_to_linker::<Guest, Table>(l, |guest| {
        // A body that is being written must not fill up.
        guest.http.drain();
        guest.ctx().table
    })?;

    cli::environment::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;

    filesystem::preopens::add_to_linker::<Guest, WasiFilesystem>(l, Guest::filesystem)?;
    filesystem::types::add_to_linker::<Guest, WasiFilesystem>(l, Guest::filesystem)?;

    let network = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<Guest, WasiSockets>(l, &network, Guest::sockets)?;
    sockets::instance_network::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)?;
    sockets::tcp::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)?;
    sockets::udp::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)?;
    sockets::udp_create_socket::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)?;
    Ok(())
}

/// The same of WASI 0.3.
pub(crate) fn add_wasi_0_3_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p3::cli::add_to_linker(linker)?;
    p3::filesystem::add_to_linker(linker)?;
    p3::sockets::add_to_linker(linker)
}

/// A context in which nothing is granted. Its own clocks and randomness are never linked, so that what they start
/// from does not matter.
pub(crate) fn empty_context(shared: &Arc<Shared>) -> WasiCtx {
    WasiCtx::builder()
        // Not the builder's default, whose reading would start a task on the runtime.
        .stdin(MemoryInputPipe::new(Bytes::new()))
        .stdout(Print {
            shared: Arc::clone(shared),
            to: Printed::Stdout,
        })
        .stderr(Print {
            shared: Arc::clone(shared),
            to: Printed::Stderr,
        })
        // Refused before the operating system is asked for a socket.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Stdout or stderr of the guest.
#[derive(Clone)]
struct Print {
    shared: Arc<Shared>,
    to: Printed,
}

impl IsTerminal for Print {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Print {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// How components of WASI 0.3 print. What they send through a stream reaches no host call of theirs, so it is charged here.
impl AsyncWrite for Print {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.charge_call();
        self.shared.log().print(self.to, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl OutputStream for Print {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.shared.log().print(self.to, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINT_BYTES_MAX)
    }
}

#[async_trait]
impl Pollable for Print {
    async fn ready(&mut self) {}
}
