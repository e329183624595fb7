//! Times loading and scoring: `time_windows MODEL`.

use std::time::Instant;

use aesa::encoder::Network;
use aesa::score::Scores;
use aesa_tract::TractModel;

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: time_windows MODEL")?;
    let started = Instant::now();
    let model = TractModel::load(path.as_ref())?;
    println!("load: {:.0} ms, {} parameters", started.elapsed().as_secs_f64() * 1e3, model.num_parameters());
    let mut session = model.session();
    for num_steps in [62, 62, 1, 1, 30, 30, 61, 61] {
        let features = vec![0.1; num_steps * 16 * 128];
        let mut scores = vec![Scores::default(); num_steps];
        let started = Instant::now();
        session.score_window(&features, &mut scores)?;
        println!("{num_steps} steps: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
