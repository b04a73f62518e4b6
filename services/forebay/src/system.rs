//! The stages that run in this process, on the edges of one mesh.

use actix_rt::Arbiter;
use forebay_bus::{Mesh, Stages};
use forebay_contract::Stage;
use forebay_ingestion::system::HttpListener;
use forebay_runtime::{Drain, Host, StartError};

use crate::settings::Settings;

/// Starts `stages` on one arbiter; the HTTP endpoint, if it is among them, and what to do at the end. The stages start
/// from the last to the first, so that the endpoint opens when the path behind it is complete.
pub(crate) fn start(
    settings: &Settings,
    host: &Host,
    stages: Stages,
    kafka: bool,
) -> Result<(Option<HttpListener>, impl Drain + use<>), StartError> {
    let arbiter = Arbiter::new().handle();
    let mut http = None;
    let mut mesh = Mesh::new(host, settings.bus.clone(), stages.clone(), kafka);
    for stage in stages.iter().rev() {
        match stage {
            Stage::Publishing => forebay_publishing::system::start(&settings.publishing, &mut mesh, &arbiter)?,
            Stage::Prediction => forebay_prediction::system::start(&settings.prediction, &mut mesh, &arbiter)?,
            Stage::Caching => forebay_caching::system::start(&settings.caching, &mut mesh, &arbiter)?,
            Stage::Preprocessing => forebay_preprocessing::system::start(&settings.preprocessing, &mut mesh, &arbiter)?,
            Stage::Ingestion => {
                http = Some(forebay_ingestion::system::start(&settings.ingestion, &mut mesh, &arbiter)?);
            }
            Stage::Unknown => {}
        }
    }
    Ok((http, mesh.run()?))
}
