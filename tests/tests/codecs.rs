//! One clip in every codec scores alike, without any tool but the engine's own decoders.

use aesa::{Axis, Scores};
use aesa_media::AudioFile;
use aesa_tests::{project, score_file, starter};

fn clip_scores(name: &str) -> Scores {
    score_file(&starter(), &project("tests/golden/codecs").join(name)).expect("the clip scores").clip.scores
}

#[test]
fn flac_equals_wav() {
    assert_eq!(clip_scores("speech.flac"), clip_scores("speech.wav"));
}

#[test]
fn lossy_codecs_at_high_rates_score_nearly_alike() {
    let original = clip_scores("speech.wav");
    for name in ["speech.mp3", "speech.ogg", "speech.m4a", "speech.aac"] {
        let scores = clip_scores(name);
        for axis in Axis::ALL {
            // Wide enough for what the codecs remove, far below the effect of a wrong rate, level or channel count.
            assert!(
                (scores[axis] - original[axis]).abs() < 0.5,
                "{name} {axis}: {} {}",
                scores[axis],
                original[axis]
            );
        }
    }
}

#[test]
fn opus_is_refused_in_words() {
    let error = AudioFile::open(&project("tests/golden/codecs/speech.opus")).err().unwrap();
    assert!(error.to_string().to_lowercase().contains("codec"), "{error}");
}
