//! What is read from objects besides their attributes: the readers of estimators, and states that are tuples.

use super::View;
use super::graph::Node;
use crate::Fault;
use crate::sklearn::Estimators;

impl View<'_> {
    /// What reads estimators inside steps.
    ///
    /// # Errors
    /// A [`Fault`] at this place where nothing does: in an artefact of preprocessing alone.
    pub fn estimators(&self) -> Result<&'static dyn Estimators, Fault> {
        let reason = || format!("{} is not supported in a separate preprocessing artefact", self.kind());
        self.graph.estimators.ok_or_else(|| self.fault(reason()))
    }

    /// The items of an object whose state is a tuple.
    ///
    /// # Errors
    /// A [`Fault`] for anything else.
    pub fn state_items(&self) -> Result<Vec<Self>, Fault> {
        match self.node() {
            Node::Object(object) if object.state.is_some() => self.at(object.state.unwrap_or_default(), "").items(),
            _ => Err(self.fault(format!("is {}, which has no state", self.kind()))),
        }
    }
}
