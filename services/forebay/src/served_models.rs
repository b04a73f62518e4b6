//! What `forebay up --model` serves, as settings.

use std::path::PathBuf;

use forebay_registry::{ModelPath, ModelSettings, ModelUri, Registry, location_of_paths};

use crate::model_source::ModelSource;

/// Fetches a model that need not be registered; its folder.
type Fetch<'f> = &'f dyn Fn(&ModelUri) -> Result<PathBuf, String>;

/// The settings, as `--set` takes them, with which the models are served. `sources` are paths or addresses `models:/...`
/// and `runs:/...`; `names` has a name for each path, or is empty. The first model answers requests that name none. Models
/// that are not registered are fetched and served as folders.
///
/// # Errors
/// What cannot be served, and why.
pub(crate) fn settings_for(sources: &[String], names: &[String], fetch: Fetch<'_>) -> Result<Vec<String>, String> {
    if !names.is_empty() && names.len() != sources.len() {
        let (names, sources) = (names.len(), sources.len());
        return Err(format!("{names} names for {sources} models: give a --name for each --model, or for none"));
    }
    let of_registry = |source: &&String| source.starts_with("models:/") && !is_unregistered(source);
    match sources.iter().filter(of_registry).count() {
        0 => paths(sources, names, fetch),
        all if all == sources.len() && names.is_empty() => addresses(sources),
        all if all == sources.len() => Err("a model of the registry keeps its name: --name is for files".to_owned()),
        _ => Err("files and models of the registry cannot be served together; register the files first".to_owned()),
    }
}

/// Whether a source is an address of a model that need not be registered.
fn is_unregistered(source: &str) -> bool {
    source.parse::<ModelUri>().is_ok_and(|uri| uri.unregistered_name().is_some())
}

fn paths(sources: &[String], names: &[String], fetch: Fetch<'_>) -> Result<Vec<String>, String> {
    let mut models = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        let mut own = None;
        let path = match source.parse::<ModelSource>()? {
            ModelSource::Folder(path) | ModelSource::File(path) => path,
            ModelSource::Uri(uri) => {
                own = uri.unregistered_name().map(str::to_owned);
                fetch(&uri)?
            }
            ModelSource::Registry(path) if sources.len() == 1 && names.is_empty() => {
                return Ok(vec![setting("models.registry", &format!("file:{}", path.display()))]);
            }
            _ => {
                return Err(format!(
                    "{source}: holds several models; serve it with --set models.registry=file:{source}"
                ));
            }
        };
        let path = std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = names.get(index).cloned().or(own).unwrap_or_else(|| ModelPath::name_of(&path));
        if models.iter().any(|model: &ModelPath| model.name == name) {
            return Err(format!("{source}: another model is named {name:?} as well; give each a --name"));
        }
        models.push(ModelPath { name, path });
    }
    let first = models.first().map(|model| model.name.clone()).unwrap_or_default();
    Ok(vec![setting("models.registry", &location_of_paths(&models)), setting("models.name", &first)])
}

fn addresses(sources: &[String]) -> Result<Vec<String>, String> {
    let mut served = Vec::with_capacity(sources.len());
    let mut settings = Vec::new();
    for source in sources {
        let (name, requested) = match source.parse::<ModelSource>()? {
            ModelSource::Named { name, requested } => (name, requested),
            ModelSource::Uri(uri) => {
                let name = uri.name().ok_or_else(|| format!("{source}: is not registered, and so has no name"))?;
                (name.to_owned(), uri.requested())
            }
            _ => return Err(format!("{source}: is no address of a registered model")),
        };
        if let Some(requested) = requested {
            if sources.len() > 1 {
                return Err(format!(
                    "{source}: with several models each answers with its Production version; leave {requested:?} away"
                ));
            }
            settings.push(setting("models.stage", &requested));
        }
        served.push(name);
    }
    settings.push(setting("models.name", served.first().map_or("", String::as_str)));
    settings.push(setting("models.serve", &served.join(",")));
    Ok(settings)
}

fn setting(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// The setting that makes the only model of a local registry the default one; `None` if there are more, or if the registry
/// cannot be read, which the start reports. An MLflow server lists what is served by name, and is not asked.
pub(crate) fn only_model(models: &ModelSettings) -> Option<String> {
    if models.is_on_server() {
        return None;
    }
    let registry = Registry::open_with(&models.registry_options()).ok()?;
    let [model] = registry.models().try_into().ok()?;
    (model.name != models.name).then(|| setting("models.name", &model.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &str) -> String {
        format!("{}/../../shared/model/sample/{path}", env!("CARGO_MANIFEST_DIR"))
    }

    fn settings(sources: &[&str], names: &[&str]) -> Result<Vec<String>, String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        settings_for(&owned(sources), &owned(names), &|uri| Ok(format!("/cache/{}", uri).replace(':', "").into()))
    }

    #[test]
    fn files_and_folders_are_served_under_their_names() {
        let (folder, file) = (sample("diabetes-rf-model/1"), sample("diabetes-rf-model/2/model.onnx"));
        let found = settings(&[&folder, &file], &["forest", "trees"]).unwrap();
        assert!(found[0].starts_with("models.registry=paths:{\"forest\":\"/"), "{found:?}");
        assert!(found[0].contains("\"trees\":") && found[0].ends_with("/2/model.onnx\"}"), "{found:?}");
        assert_eq!(found[1], "models.name=forest");
        assert_eq!(settings(&[&file], &[]).unwrap()[1], "models.name=diabetes-rf-model");
        let registry = settings(&[&sample("")], &[]).unwrap();
        assert!(registry.len() == 1 && registry[0].starts_with("models.registry=file:"), "{registry:?}");
    }

    #[test]
    fn models_of_the_registry_are_served_by_name() {
        let found = settings(&["models:/churn@champion"], &[]).unwrap();
        assert_eq!(found, ["models.stage=champion", "models.name=churn", "models.serve=churn"]);
        assert_eq!(settings(&["models:/churn/3"], &[]).unwrap()[0], "models.stage=3");
        let both = settings(&["models:/churn", "models:/fraud"], &[]).unwrap();
        assert_eq!(both, ["models.name=churn", "models.serve=churn,fraud"]);
    }

    #[test]
    fn models_that_are_not_registered_are_served_as_folders() {
        let found =
            settings(&["runs:/62ab/a/churn", "models:/m-0123abcd", &sample("diabetes-rf-model/1")], &[]).unwrap();
        let (of_run, logged) = (r#""churn":"/cache/runs/62ab/a/churn""#, r#""m-0123abcd":"/cache/models/m-0123abcd""#);
        assert!(found[0].contains(of_run) && found[0].contains(logged) && found[0].contains("-model/1\""), "{found:?}");
        assert_eq!(found[1], "models.name=churn");
        assert_eq!(settings(&["models:/m-0123abcd"], &["churn"]).unwrap()[1], "models.name=churn");
    }

    #[test]
    fn what_cannot_be_served_is_explained() {
        let file = sample("diabetes-rf-model/2/model.onnx");
        for (sources, names, part) in [
            (vec!["models:/a", &*file], vec![], "register the files"),
            (vec![&*file, &*file], vec!["one"], "1 names for 2 models"),
            (vec!["models:/a"], vec!["b"], "keeps its name"),
            (vec!["models:/a/1", "models:/b"], vec![], "leave \"1\" away"),
            (vec!["models:/a", "models:/m-0123abcd"], vec![], "register the files"),
            (vec!["runs:/62ab"], vec![], "names no model of a run"),
            (vec!["runs:/62ab/model", "runs:/62ac/model"], vec![], "give each a --name"),
            (vec!["no/such/file.pkl"], vec![], "no such file or folder"),
            (vec![&*file, &*file], vec![], "give each a --name"),
        ] {
            let why = settings(&sources, &names).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
