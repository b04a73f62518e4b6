//! What the signature and the input example of a folder do to the model beside them, as in MLflow.
#![cfg(test)]

use std::path::Path;

use forebay_model::{LoadedVersion, ModelError, Output, Scores, TypedRows, Value, load_file, load_folder};
use serde_json::json;

fn golden(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/refusing").join(file)
}

fn columns(columns: &[(&str, &str)]) -> String {
    let column = |(name, kind): &(&str, &str)| json!({"type": kind, "name": name, "required": true});
    serde_json::Value::from(columns.iter().map(column).collect::<Vec<_>>()).to_string()
}

/// A folder of a flavor with a golden file and these inputs.
fn folder(flavor: &str, file: &str, inputs: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden(file), folder.path().join(file)).unwrap();
    let key = if flavor == "sklearn" { "pickled_model" } else { "data" };
    let mlmodel = json!({
        "flavors": {flavor: {key: file}},
        "signature": {"inputs": inputs},
        "saved_input_example_info": {"artifact_path": "input_example.json"},
    });
    std::fs::write(folder.path().join("MLmodel"), mlmodel.to_string()).unwrap();
    std::fs::write(folder.path().join("input_example.json"), "7").unwrap();
    folder
}

fn loaded(flavor: &str, file: &str, given: &[(&str, &str)]) -> Result<LoadedVersion, String> {
    load_folder(folder(flavor, file, &columns(given)).path()).map_err(|fault| fault.to_string())
}

fn predict(loaded: &LoadedVersion, row: &[Value]) -> Result<Scores, ModelError> {
    loaded.predict_values(TypedRows::new(row.len(), row).unwrap(), Output::Predict)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn a_column_transformer_and_catboost_find_their_columns_by_name() {
    for (flavor, file) in [("sklearn", "strict_ordinal.pkl"), ("catboost", "cat_category.cbm")] {
        let own = load_file(&golden(file)).unwrap();
        assert_eq!(own.signature.features, ["age", "city"]);
        let want = predict(&own, &[29.5.into(), text("Rome")]).unwrap().values;
        let (age, city, id) = (("age", "double"), ("city", "string"), ("id", "long"));
        for (given, row) in [
            (vec![age, city], vec![29.5.into(), text("Rome")]),
            (vec![city, age], vec![text("Rome"), 29.5.into()]),
            (vec![id, city, age], vec![Value::Integer(8), text("Rome"), 29.5.into()]),
        ] {
            let loaded = loaded(flavor, file, &given).unwrap();
            assert_eq!(predict(&loaded, &row).unwrap().values, want, "{file}: {given:?}");
            let names: Vec<&str> = loaded.columns.iter().map(|column| column.name.as_str()).collect();
            assert_eq!(names, given.iter().map(|(name, _)| *name).collect::<Vec<_>>());
            let unread = loaded.columns.iter().find(|column| column.name == "id");
            assert!(flavor != "sklearn" || unread.is_none_or(|column| column.optional));
        }
        let lacking = loaded(flavor, file, &[("id", "double"), city]).unwrap_err();
        assert!(lacking.contains("signature: lacks the column \"age\", which the model reads"), "{lacking}");
    }
    let loaded = loaded("sklearn", "strict_ordinal.pkl", &[("city", "string"), ("age", "double")]).unwrap();
    let refused = loaded.model.predict_typed(TypedRows::new(2, &[text("Lima"), 29.5.into()]).unwrap()).unwrap_err();
    let expected = "feature city has \"Lima\", which is not one of the encoder's categories";
    assert_eq!(loaded.refusal(&refused).unwrap(), expected);
}

#[test]
fn other_libraries_refuse_another_order_and_other_names() {
    let xgboost: [(&str, &str); 3] = [("city", "string"), ("age", "double"), ("id", "double")];
    let sklearn: [(&str, &str); 3] = [("b", "double"), ("a", "double"), ("id", "double")];
    for (flavor, file, [first, second, other]) in
        [("sklearn", "box_cox.pkl", sklearn), ("xgboost", "xgb_category.ubj", xgboost)]
    {
        assert!(loaded(flavor, file, &[second, first]).is_ok());
        let order = loaded(flavor, file, &[first, second]).unwrap_err();
        assert!(order.contains("its library refuses another order"), "{order}");
        for given in [vec![second, first, other], vec![second, other]] {
            let unknown = loaded(flavor, file, &given).unwrap_err();
            assert!(unknown.contains("has the column \"id\", which the model was not fitted on"), "{unknown}");
        }
        assert!(loaded(flavor, file, &[second]).unwrap_err().contains("names 1 inputs, the model was fitted on 2"));
    }
}

#[test]
fn values_of_float_columns_have_32_bits() {
    let of = |kind: &str| loaded("sklearn", "box_cox.pkl", &[("a", kind), ("b", "double")]).unwrap();
    let (float, double) = (of("float"), of("double"));
    let rounded = f64::from(3.42_f32);
    let values = |loaded: &LoadedVersion, a: f64| predict(loaded, &[a.into(), 6.43.into()]).unwrap().values;
    assert_eq!(values(&float, 3.42), values(&double, rounded));
    assert_ne!(values(&double, 3.42), values(&double, rounded));
    let huge = predict(&float, &[1e300.into(), 6.43.into()]).unwrap_err();
    assert!(float.refusal(&huge).unwrap().starts_with("feature a has 1000"), "{huge}");
    let inputs = json!([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]).to_string();
    let tensor = load_folder(folder("sklearn", "box_cox.pkl", &inputs).path()).unwrap();
    let both = predict(&double, &[rounded.into(), f64::from(6.43_f32).into()]).unwrap().values;
    assert_eq!(values(&tensor, 3.42), both);
}

#[test]
fn an_example_that_is_no_list_of_rows_refuses_no_version() {
    let folder = folder("sklearn", "box_cox.pkl", &columns(&[("a", "double"), ("b", "double")]));
    let check = |example: &str, output: Option<&str>| {
        std::fs::write(folder.path().join("input_example.json"), example).unwrap();
        let file = folder.path().join("example_output.json");
        match output {
            Some(output) => std::fs::write(file, output).unwrap(),
            None => drop(std::fs::remove_file(file)),
        }
        let loaded = load_folder(folder.path()).unwrap();
        let check = loaded.check_answers().unwrap();
        (loaded.unread_example, check.rows, check.parity.is_some())
    };
    let sparse = r#"{"data": [1.0], "indices": [0], "indptr": [0, 1], "shape": [1, 2]}"#;
    for example in [sparse, "[[1.0, Infinity]]", "{\"x\": 1}", "[[1.0"] {
        let (unread, rows, compared) = check(example, Some("[7.0]"));
        assert!(unread.unwrap().starts_with("input_example.json "), "{example}");
        assert_eq!((rows, compared), (0, false));
    }
    assert_eq!(check(r#"{"b": 6.43, "a": 3.42}"#, Some("[13.115268795177784]")), (None, 1, true));
    let large = format!("[{}]", vec!["[3.42, 6.43]"; 400_000].join(", "));
    assert_eq!(check(&large, Some(&format!("[{}]", vec!["13.115268795177784"; 70].join(",")))), (None, 64, true));
    let wide = format!("[[3.42, 6.43, \"{}\"]]", " ".repeat(5 << 20));
    assert!(check(&wide, None).0.is_some());
}
