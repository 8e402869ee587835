use super::*;

/// Rows whose truth is known: click = σ(1.5 x₀ − x₁ x₀ − 1), cart a tenth of the clicks, purchase unknown
/// for every other row.
fn rows(n: usize) -> (RankerRows, Vec<f64>) {
    let uniform = |i: usize, salt: u64| (mix(i as u64 ^ salt << 40) >> 11) as f64 / (1u64 << 53) as f64;
    let mut rows = RankerRows { features: 3, ..Default::default() };
    let mut truth = vec![];
    for i in 0..n {
        let [a, b, c] = [1, 2, 3].map(|salt| 4.0 * uniform(i, salt) - 2.0);
        // Far from standard scale, and one feature that is sometimes missing.
        rows.values.extend([100.0 + 50.0 * a as f32, b as f32, if i % 5 == 0 { f32::NAN } else { c as f32 }]);
        let p = 1.0 / (1.0 + (-(1.5 * a - a * b - 1.0)).exp());
        let click = uniform(i, 4) < p;
        rows.labels.extend([
            f32::from(click),
            f32::from(click && uniform(i, 5) < 0.1),
            if i % 2 == 0 { f32::NAN } else { 0.0 },
        ]);
        rows.groups.push(i as u64 / 10);
        truth.push(p);
    }
    (rows, truth)
}

#[test]
fn the_ranker_finds_the_probabilities_behind_the_labels() {
    let (rows, truth) = rows(30_000);
    let fitted = fit_ranker(&rows, &RankerTrainConfig::default()).unwrap();
    let predicted = fitted.ranker.predict(&rows.values).unwrap();
    let n = truth.len() as f64;
    let error =
        predicted.chunks(3).zip(&truth).map(|(row, p)| (f64::from(row[0]) - p).powi(2)).sum::<f64>() / n;
    assert!(error.sqrt() < 0.05, "{}", error.sqrt());
    let click = &fitted.heads[0];
    assert!(click.auc.unwrap() > 0.8 && click.calibration_error < 0.03, "{click:?}");
    assert_eq!((click.rows, fitted.rows), (3000, [27_000, 3000]));
    let cart = &fitted.heads[1];
    assert!(cart.auc.unwrap() > 0.6 && cart.calibration_error < 0.02, "{cart:?}");
    let purchase = &fitted.heads[2];
    assert!(purchase.auc.is_none() && purchase.positives == 0 && purchase.rows == 1500, "{purchase:?}");
    // What can be said of an outcome that was never seen: hardly ever.
    assert!(predicted.chunks(3).all(|row| row[2] < 0.01));

    let again = fit_ranker(&rows, &RankerTrainConfig::default()).unwrap();
    assert_eq!(again.ranker, fitted.ranker);
    let logistic = fit_ranker(&rows, &RankerTrainConfig { hidden: vec![], ..Default::default() }).unwrap();
    assert!(logistic.heads[0].auc.unwrap() < click.auc.unwrap(), "the interaction needs a hidden layer");
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let refused = |edit: fn(&mut RankerRows)| {
        let (mut rows, _) = rows(100);
        edit(&mut rows);
        fit_ranker(&rows, &RankerTrainConfig::default()).unwrap_err().to_string()
    };
    assert!(refused(|r| r.values.truncate(10)).contains("10 values for 100 rows of 3 features"));
    assert!(refused(|r| r.labels[4] = 0.5).contains("a label of row 1 is 0.5"));
    assert!(refused(|r| r.groups[0] = 99).contains("groups must rise"));
    assert!(refused(|r| r.weights = vec![-1.0; 100]).contains("the weight of row 0 is -1"));
    assert!(refused(|r| r.groups = vec![0; 100]).contains("1 group(s)"));
    assert!(refused(|r| *r = RankerRows { features: 3, ..Default::default() }).contains("0 group(s)"));
}

#[test]
fn platt_undoes_a_wrong_scale() {
    // Probabilities that are too sure by a factor of 2 in the logit, and off by 1.
    let outcomes = (0..20_000).map(|i| {
        let uniform = |salt: u64| (mix(i ^ salt << 40) >> 11) as f64 / (1u64 << 53) as f64;
        let z = 6.0 * uniform(1) - 3.0;
        let label = uniform(2) < 1.0 / (1.0 + (-z).exp());
        (1.0 / (1.0 + (-(2.0 * z + 1.0)).exp()), label, 1.0)
    });
    let [slope, offset] = Outcomes(outcomes.collect()).platt();
    assert!((slope - 0.5).abs() < 0.03 && (offset + 0.5).abs() < 0.05, "{slope} {offset}");
}

#[test]
fn metrics_of_worked_outcomes() {
    // Pairs (positive above negative): 0.9 beats both, 0.4 ties with one and beats one: (2 + 1.5) / 4.
    let outcomes = Outcomes(vec![(0.9, true, 1.0), (0.4, true, 1.0), (0.4, false, 1.0), (0.2, false, 1.0)]);
    assert_eq!(outcomes.auc(), Some(0.875));
    let report = outcomes.report(Head::Click);
    let loss = -(0.9f64.ln() + 0.4f64.ln() + 0.6f64.ln() + 0.8f64.ln()) / 4.0;
    assert!((report.log_loss - loss).abs() < 1e-12);
    // Four bins of one: |0.1| + |0.6| + |0.4| + |0.2| over four.
    assert!((report.calibration_error - 1.3 / 4.0).abs() < 1e-12);
}
