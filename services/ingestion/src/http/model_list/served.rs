//! What protocols need to know of one model.

use std::sync::Arc;

use forebay_contract::{ErrorCode, LoadState, ModelView, Problem, ReplicaState, RowFormat};

use super::{ModelListing, answering};
use crate::auth::Caller;
use crate::rejection::HttpRejection;

/// One version of a model, as the model directory knows it. It shares what the directory holds, for there is one for each
/// request.
#[derive(Clone, Debug)]
pub(crate) struct ServedModel {
    view: Arc<ModelView>,
    /// The version that is described: the one requested, or the one that answers requests that name none.
    pub version: u32,
    /// The rows that it takes, at this index of what a replica reports.
    format: Option<(Arc<ReplicaState>, usize)>,
    /// Whether a live replica can answer with the version.
    pub ready: bool,
    /// Whether a request unloaded the model.
    unloaded: bool,
}

impl ServedModel {
    pub(crate) fn name(&self) -> &str {
        &self.view.model
    }

    /// All versions, in ascending order.
    pub(crate) fn versions(&self) -> impl Iterator<Item = u32> {
        self.view.versions.iter().map(|listed| listed.version)
    }

    /// Kind of artefact.
    pub(crate) fn flavor(&self) -> &str {
        let listed = self.view.versions.iter().find(|listed| listed.version == self.version);
        listed.map_or("", |listed| &listed.flavor)
    }

    /// State and reason, as the index of the repository has them.
    pub(crate) fn repository_state(&self) -> (&'static str, &'static str) {
        match (self.ready, self.unloaded) {
            (true, _) => ("READY", ""),
            (false, true) => ("UNAVAILABLE", "unloaded"),
            (false, false) => ("UNAVAILABLE", "no replica has loaded it"),
        }
    }

    /// The rows that the version takes; `None` until a replica has loaded it.
    pub(crate) fn format(&self) -> Option<&RowFormat> {
        self.format.as_ref().and_then(|(replica, at)| replica.rows.get(*at))
    }

    /// What the signature calls the only output; empty if there are several, or it has no name.
    pub(crate) fn output_name(&self) -> &str {
        self.format().map_or("", |format| &format.output_name)
    }

    /// The parameters of its signature.
    pub(crate) fn params(&self) -> &[String] {
        self.format().map_or(&[], |format| &format.params)
    }

    /// Names of the values of a row, in order; empty until a replica has loaded the version.
    pub(crate) fn columns(&self) -> &[String] {
        self.format().map_or(&[], |format| &format.features)
    }
}

impl ModelListing {
    /// As [`ModelListing::served`], for a caller if callers are known: it learns nothing of models that it may not use.
    ///
    /// # Errors
    /// `forbidden` for such a model, whether or not there is one; else as [`ModelListing::served`].
    pub(crate) fn served_to(
        &self,
        caller: Option<&Caller>,
        model: &str,
        version: Option<&str>,
    ) -> Result<ServedModel, HttpRejection> {
        caller.map_or(Ok(()), |caller| caller.check_model(model))?;
        Ok(self.served(model, version)?)
    }

    /// The version of a model that a client named: by its number, with or without a `v`, by an alias, or by a stage.
    ///
    /// # Errors
    /// `unknown_model`, also for a model that is unloaded and a version that the registry does not have; `unavailable`
    /// before a replica has reported.
    pub(crate) fn served(&self, model: &str, version: Option<&str>) -> Result<ServedModel, Problem> {
        let view = self.view(model)?;
        if self.directory.is_unloaded(model) {
            return Err(Problem::unloaded(model));
        }
        let replicas = self.directory.replicas(model);
        let number = match version {
            Some(text) => named(&view, text).ok_or_else(|| {
                let text = format!("Request for unknown model: '{model}' version '{text}' is not found");
                Problem::new(ErrorCode::UnknownModel, text)
            })?,
            None => self.answering_version(&view, &replicas),
        };
        Ok(describe(&view, number, &replicas))
    }

    /// All versions of a model, also of one that is unloaded.
    ///
    /// # Errors
    /// As [`ModelListing::served`].
    pub(crate) fn served_versions(&self, model: &str) -> Result<Vec<ServedModel>, Problem> {
        let view = self.view(model)?;
        let replicas = self.directory.replicas(model);
        let unloaded = self.directory.is_unloaded(model);
        let described = view.versions.iter().map(|version| describe(&view, version.version, &replicas));
        Ok(described.map(|version| ServedModel { ready: version.ready && !unloaded, unloaded, ..version }).collect())
    }

    /// The names of all models, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.directory.views().iter().map(|view| view.model.clone()).collect()
    }

    /// The default model of the mesh.
    pub(crate) fn default_model(&self) -> &str {
        &self.models.name
    }

    pub(super) fn view(&self, model: &str) -> Result<Arc<ModelView>, Problem> {
        self.directory.view(model).ok_or_else(|| {
            if self.directory.views().is_empty() {
                let text = "no prediction replica has reported yet what the registry holds";
                return Problem::new(ErrorCode::Unavailable, text);
            }
            Problem::new(ErrorCode::UnknownModel, format!("Request for unknown model: '{model}' is not found"))
        })
    }

    /// The version that answers requests that name none; the newest if the registry names none for them.
    fn answering_version(&self, view: &Arc<ModelView>, replicas: &[Arc<ReplicaState>]) -> u32 {
        self.wanted_of(view).map_or_else(|| newest(view), |wanted| answering(replicas, wanted))
    }
}

pub(super) fn newest(view: &ModelView) -> u32 {
    view.versions.iter().map(|version| version.version).max().unwrap_or_default()
}

fn named(view: &ModelView, text: &str) -> Option<u32> {
    let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let by_number = digits.parse().ok().filter(|number| view.versions.iter().any(|it| it.version == *number));
    by_number.or_else(|| view.aliases.get(text).copied()).or_else(|| {
        let staged = view.versions.iter().filter(|it| !it.stage.is_empty() && it.stage.eq_ignore_ascii_case(text));
        staged.map(|it| it.version).max()
    })
}

fn describe(view: &Arc<ModelView>, version: u32, replicas: &[Arc<ReplicaState>]) -> ServedModel {
    let has_version = |format: &RowFormat| format.versions.contains(&version);
    let format =
        replicas.iter().find_map(|replica| Some((Arc::clone(replica), replica.rows.iter().position(has_version)?)));
    let is_ready = |replica: &Arc<ReplicaState>| {
        replica.versions.iter().any(|state| state.version == version && state.state() == LoadState::Ready)
    };
    ServedModel { view: Arc::clone(view), version, format, ready: replicas.iter().any(is_ready), unloaded: false }
}

#[cfg(test)]
mod tests {
    use forebay_bus::ModelDirectory;
    use forebay_contract::{VersionState, ViewVersion};
    use forebay_registry::ModelSettings;
    use forebay_testkit::settings;

    use super::*;

    fn listing() -> ModelListing {
        let directory = ModelDirectory::new("here");
        let version = |version, stage: &str| ViewVersion { version, stage: stage.into(), ..ViewVersion::default() };
        directory.publish_view(ModelView {
            model: "m".into(),
            versions: vec![version(1, ""), version(2, "Production"), version(3, "")],
            aliases: [("champion".to_owned(), 3)].into(),
            ..ModelView::default()
        });
        directory.describe("m", 2, RowFormat { features: vec!["age".into()], ..RowFormat::default() });
        let ready = VersionState { version: 2, state: LoadState::Ready.into(), ..VersionState::default() };
        directory.report("m", Some(2), vec![ready]);
        ModelListing::new(directory, settings(&[]).flags(&["models.name=m"]).read(ModelSettings::read).unwrap())
    }

    #[test]
    fn a_version_is_found_by_number_alias_and_stage() {
        let listing = listing();
        for (text, number) in [("1", 1), ("v1", 1), ("V2", 2), ("champion", 3), ("production", 2)] {
            assert_eq!(listing.served("m", Some(text)).unwrap().version, number, "{text}");
        }
        let served = listing.served("m", None).unwrap();
        assert_eq!((served.version, served.versions().collect(), served.ready), (2, vec![1, 2, 3], true));
        assert_eq!(served.columns(), ["age"]);
        assert!(!listing.served("m", Some("1")).unwrap().ready);
        assert_eq!(listing.served_versions("m").unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let unknown = |model, version| listing().served(model, version).unwrap_err();
        assert_eq!(unknown("n", None).to_string(), "unknown_model: Request for unknown model: 'n' is not found");
        assert_eq!(
            unknown("m", Some("9")).to_string(),
            "unknown_model: Request for unknown model: 'm' version '9' is not found"
        );
        let empty = ModelListing { directory: ModelDirectory::new("here"), ..listing() };
        assert_eq!(empty.served("m", None).unwrap_err().code, ErrorCode::Unavailable);
    }
}
