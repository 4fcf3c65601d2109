//! Names and labels of the metrics.

#![expect(clippy::float_cmp, reason = "counts in gauges are exact")]

mod bench;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench::{AMPLE, Board, Order, SECOND, secs, until};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use supervisors::{AutoShutdown, Backoff, Dynamic, EventKind, Failure, Intensity, Strategy, Supervisor};

const RUNNING: &str = "supervisor_children{state=running,strategy=one_for_all,supervisor=crew}";

/// The values of all metrics, by name and labels.
#[derive(Default)]
struct Metrics {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Samples>>>,
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().push(value);
    }
}

impl Metrics {
    fn counter(&self, name: &str) -> u64 {
        self.counters.lock()[name].load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.gauges.lock()[name].load(Ordering::Relaxed))
    }

    fn samples(&self, name: &str) -> Vec<f64> {
        self.histograms.lock()[name].0.lock().clone()
    }

    fn keys(&self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = self.counters.lock().keys().cloned().collect();
        keys.extend(self.gauges.lock().keys().cloned());
        keys.extend(self.histograms.lock().keys().cloned());
        keys
    }
}

fn named(key: &Key) -> String {
    let label = |label: &metrics::Label| format!("{}={}", label.key(), label.value());
    let mut labels: Vec<_> = key.labels().map(label).collect();
    labels.sort();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.counters.lock().entry(named(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(self.gauges.lock().entry(named(key)).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(self.histograms.lock().entry(named(key)).or_default()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_metrics_have_the_names_and_labels_of_the_documentation() {
    let seen = Metrics::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let board = Board::default();
    let backoff = Backoff {
        jitter: 0.0,
        ..Backoff::default()
    };
    let tree = Supervisor::new("crew", Strategy::OneForAll, Intensity::new(2, secs(60)))
        .child(board.worker("a").backoff(backoff))
        .child(board.worker("b"))
        .start()
        .await
        .expect("it starts");
    let of = |name: &str| format!("{name}{{strategy=one_for_all,supervisor=crew}}");
    let because = |name: &str| format!("{name}{{reason=trap,strategy=one_for_all,supervisor=crew}}");
    assert_eq!(seen.gauge(RUNNING), 2.0);
    assert_eq!(seen.gauge(&of("supervisor_intensity_used")), 0.0);
    assert_eq!(seen.gauge(&of("supervisor_intensity_limit")), 2.0);

    let mut events = tree.subscribe();
    let trap = || Order::Fail(Failure::new("trap", "unreachable"));
    for _ in 0..2 {
        board.tell("a", trap());
        until(&mut events, EventKind::Restarted, "crew/b").await;
    }
    assert_eq!(seen.counter(&because("supervisor_restarts_total")), 2);
    assert_eq!(seen.gauge(&of("supervisor_intensity_used")), 2.0);
    assert_eq!(seen.samples(&of("supervisor_backoff_seconds")), [0.1]);
    // Both children were restarted twice: at once, and after the delay.
    let recovered = seen.samples(&of("supervisor_recovery_seconds"));
    assert_eq!(recovered.iter().filter(|seconds| **seconds >= 0.1).count(), 2);
    assert_eq!(recovered.len(), 4);

    tokio::time::sleep(secs(61)).await;
    assert_eq!(seen.gauge(&of("supervisor_intensity_used")), 0.0);

    let crew = tree.handle();
    crew.reconfigure(Strategy::OneForOne, Intensity::new(0, SECOND), AutoShutdown::Never)
        .expect("it may be");
    tokio::time::sleep(SECOND).await;
    assert_eq!(seen.gauge(RUNNING), 0.0);
    assert_eq!(seen.gauge(&RUNNING.replace("one_for_all", "one_for_one")), 2.0);

    board.tell("b", trap());
    tree.wait().await;
    let meltdowns = because("supervisor_meltdowns_total").replace("one_for_all", "one_for_one");
    assert_eq!(seen.counter(&meltdowns), 1);
    let keys = seen.keys();
    let mut children = keys.iter().filter(|name| name.starts_with("supervisor_children"));
    assert!(children.all(|name| seen.gauge(name) == 0.0));

    let names: BTreeSet<&str> = keys.iter().filter_map(|name| name.split('{').next()).collect();
    let documented = [
        "supervisor_backoff_seconds",
        "supervisor_children",
        "supervisor_intensity_limit",
        "supervisor_intensity_used",
        "supervisor_meltdowns_total",
        "supervisor_recovery_seconds",
        "supervisor_restarts_total",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), documented);
}

#[tokio::test(start_paused = true)]
async fn no_label_holds_a_name_from_below_a_dynamic_supervisor() {
    let seen = Metrics::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let board = Board::default();
    let (child, agents) = Dynamic::new("agents", Intensity::new(1, secs(60))).into_child();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(child)
        .start()
        .await
        .expect("it starts");
    let group = Supervisor::new("secret-group", Strategy::OneForOne, Intensity::new(0, secs(60)));
    let group = group.child(board.worker("secret-agent"));
    agents.start_child(group.into_child()).await.expect("it starts");
    let mut events = tree.subscribe();
    for _ in 0..2 {
        board.tell("secret-agent", Order::Panic);
        until(&mut events, EventKind::Meltdown, "node/agents/secret-group").await;
        if agents.child("secret-group").is_some() {
            until(&mut events, EventKind::ChildExited, "node/agents/secret-group").await;
        }
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(agents.which_children()[0].state, "failed");
    assert!(!seen.keys().iter().any(|name| name.contains("secret")));
    // Groups under one label have different intensities, so none of them is the figure of that label.
    let intensities: Vec<_> = seen
        .keys()
        .into_iter()
        .filter(|name| name.contains("intensity"))
        .collect();
    assert_eq!(
        intensities,
        [
            "supervisor_intensity_limit{strategy=one_for_one,supervisor=node}",
            "supervisor_intensity_used{strategy=one_for_one,supervisor=node}"
        ]
    );
    let restarts = "supervisor_restarts_total{reason=meltdown,strategy=dynamic,supervisor=agents}";
    assert_eq!(seen.counter(restarts), 1);
    let failed = "supervisor_meltdowns_total{reason=meltdown,strategy=dynamic,supervisor=agents}";
    assert_eq!(seen.counter(failed), 1);
    let melted = "supervisor_meltdowns_total{reason=panic,strategy=one_for_one,supervisor=agents}";
    assert_eq!(seen.counter(melted), 2);
    tree.shutdown().await;
}
