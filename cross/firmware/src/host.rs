//! Prints the scores of the clip as this machine's scalar kernels compute them.

use aesa::native::Model;
use aesa_firmware::{MEMORY_NUMBERS, Scorer, clip, clip_line, frame_line, model_file, model_line};

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut out = String::new();
    let mut memory = vec![0.0; MEMORY_NUMBERS];
    let model = Model::from_bytes(model_file())?;
    model_line(&mut out, model_file(), &model)?;
    let mut scorer = Scorer::new(&model, &mut memory)?;
    let mut frames = Vec::new();
    scorer.push(clip(), |scores| frames.push(scores))?;
    let clip = scorer.finish(|scores| frames.push(scores)).ok_or("the clip is shorter than a frame")?;
    for (i, scores) in frames.into_iter().enumerate() {
        frame_line(&mut out, i, scores)?;
    }
    clip_line(&mut out, &clip)?;
    print!("{out}");
    Ok(())
}
