//! The stage with a part of it replaced.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use forebay_bus::{Ack, NoEvents};
use forebay_testkit::{settings, wait_until_async};

use super::*;

#[test]
fn a_handler_that_blocks_its_worker_fails_liveness_until_it_turns_again() {
    const LONG: Duration = Duration::from_secs(10);
    let sources =
        settings(&[forebay_redis::DEFAULTS, crate::DEFAULTS]).flags(&["http.listen=127.0.0.1:0", "http.workers=1"]);
    let (settings, bus, host) = (sources.read(Settings::read).unwrap(), sources.bus(), sources.host());
    host.lifecycle().watch_stalls(Duration::from_millis(200)).unwrap();
    actix_rt::System::new().block_on(async {
        let outlets = Outlets {
            requests: Outlet::new(|_, ack: Ack| ack.ack()),
            results: Outlet::new(|_, ack: Ack| ack.ack()),
            dead_letters: DeadLetters::logged("ingestion", Arc::new(NoEvents)),
        };
        let (arbiter, directory) = (Arbiter::new(), ModelDirectory::new("test"));
        let placement = StagePlacement::memory();
        let mut stage = stage(&settings, &bus, &host, &arbiter.handle(), outlets, placement, &directory).unwrap();
        let (open, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        stage.http.batcher = Arc::new(move |_| _ = gate.lock().unwrap().recv());
        let listener = stage.serve_http(&host).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(host.lifecycle().stalled(), [""; 0], "an idle worker turns");

        let mut connection = TcpStream::connect(listener.address).unwrap();
        let request = "POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{\"features\":[1]}";
        connection.write_all(request.as_bytes()).unwrap();
        wait_until_async(LONG, "the stall", async || host.lifecycle().stalled() == ["http worker"]).await;
        assert!(!host.lifecycle().is_alive());
        drop(open);
        wait_until_async(LONG, "its end", async || host.lifecycle().is_alive()).await;
    });
}
