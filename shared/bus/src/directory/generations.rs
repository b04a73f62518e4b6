//! Which generation of each model's view a reader of the registry has seen.

use std::collections::HashMap;

use super::ModelDirectory;

/// Generations of the views by model, up to which this process has seen what the registry holds.
#[derive(Debug, Default)]
pub struct SeenGenerations(HashMap<String, u64>);

impl SeenGenerations {
    /// Notes that the view of `model` was seen up to `generation`.
    pub fn saw(&mut self, model: &str, generation: u64) {
        self.0.insert(model.to_owned(), generation);
    }

    /// Whether `directory` has a view that is newer than what was seen. Each view is reported as news once.
    pub fn has_news(&mut self, directory: &ModelDirectory) -> bool {
        let mut news = false;
        for view in directory.views() {
            let seen = self.0.entry(view.model.clone()).or_insert(0);
            news |= view.generation > *seen;
            *seen = view.generation.max(*seen);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::ModelView;

    use super::*;

    #[test]
    fn each_newer_view_is_news_once() {
        let (directory, mut seen) = (ModelDirectory::new("here"), SeenGenerations::default());
        assert!(!seen.has_news(&directory));
        let generation = directory.publish_view(ModelView { model: "m".into(), ..ModelView::default() });
        assert!(seen.has_news(&directory));
        assert!(!seen.has_news(&directory));
        let newer =
            ModelView { model: "m".into(), generation: generation + 1, registry: "r".into(), ..ModelView::default() };
        directory.on_view(newer);
        seen.saw("m", generation + 1);
        assert!(!seen.has_news(&directory), "the reader has seen it by itself");
    }
}
