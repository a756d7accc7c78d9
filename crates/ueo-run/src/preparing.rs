//! A run up to its first step: the zero-shot pass and what follows from it.

use ueo::adapt::AdaptState;
use ueo::guard::{EpochRecord, WatchedView};
use ueo::method::Method;
use ueo::session::{
    Classifier, EngineRecord, Event, ImageFeatures, Judge, OracleLabels, Reporter, SkippedImage,
    Stage, encode_images_keeping, list_skipped,
};

use super::RunError;
use super::adapting::Task;
use super::features::FeatureKey;
use super::held::PreparedRun;
use super::judging::{Measured, fingerprint, judge_images};
use super::predictions::ImageResult;
use super::record::{FORMAT_VERSION, ImagesRecord, RunRecord, RunStatus};
use super::together::RankDirectory;

/// What is known before the first step.
pub(super) struct Prepared {
    pub record: RunRecord,
    pub state: AdaptState,
    /// Features of the images' test views, not normalized; empty where a run is continued.
    pub features: Vec<f32>,
    /// Images that take part, ascending.
    pub used: Vec<usize>,
    /// What the checkpoint says about each of them, on the rank that writes.
    pub results: Vec<ImageResult>,
    /// The classes that it predicts.
    pub zero_shot_classes: Vec<usize>,
    /// The records of the epochs so far, that of the zero-shot model first.
    pub epochs: Vec<EpochRecord>,
}

impl Task<'_> {
    /// A new run up to its first step, on disk, in the place of the run that was there.
    pub(super) fn begun(
        &self,
        directory: &RankDirectory,
        reporter: &mut dyn Reporter,
    ) -> Result<Prepared, RunError> {
        directory.write(|directory| directory.stage(self.job.request))?;
        let (encoded, skipped) = self.encode(directory, reporter)?;
        let prepared = self.prepare(encoded, skipped, reporter)?;
        reporter.report(Event::Prepared);
        directory.write(|directory| {
            directory.commit(&PreparedRun {
                record: &prepared.record,
                results: &prepared.results,
                zero_shot: &prepared.epochs[0],
                state: &prepared.state,
            })
        })?;
        Ok(prepared)
    }

    /// The zero-shot pass, from where an earlier one ended.
    fn encode(
        &self,
        directory: &RankDirectory,
        reporter: &mut dyn Reporter,
    ) -> Result<(ImageFeatures, Vec<SkippedImage>), RunError> {
        let (model, images) = (self.job.model, self.images);
        let ids = (0..images.len()).map(|index| images.id(index));
        let parameters = &model.parameters;
        let request = self.job.request;
        let key = FeatureKey::new(model, request.precision, parameters, ids).of_images_at(
            &request.images,
            &request.image_options(),
            &model.preprocessing,
        );
        let encoded = encode_images_keeping(
            &mut directory.features(&key)?,
            model,
            &parameters.affine,
            images,
            Stage::ZeroShot,
            reporter,
        )?;
        match list_skipped(&encoded, images, request.strict, reporter) {
            Ok(skipped) => Ok((encoded, skipped)),
            Err(error) => {
                // The user may repair the images; they are to be looked at again.
                directory.write(|directory| directory.drop_features())?;
                Err(error.into())
            }
        }
    }

    /// How confident the checkpoint is, what it scores, and the state before the first step.
    fn prepare(
        &self,
        encoded: ImageFeatures,
        skipped: Vec<SkippedImage>,
        reporter: &mut dyn Reporter,
    ) -> Result<Prepared, RunError> {
        let (job, images) = (self.job, self.images);
        let (request, model) = (job.request, job.model);
        images.tell_orientation(reporter);
        let cache_use = images.cache_use();
        if cache_use.images_left_out > 0 && self.adaptation.is_some() {
            reporter.report(Event::CacheTooSmall(cache_use));
        }
        // What training starts from: of several templates the first.
        let classifier = Classifier::new(&model.clip, self.prompts, &model.parameters);
        let mean = match model.templates().len() {
            1 => None,
            _ => Some(model.classifier(&request.classes)?),
        };
        let zero_shot = mean.as_ref().unwrap_or(&classifier);
        let (results, measured) = self.judge_zero_shot(&encoded, zero_shot, reporter)?;
        let mut pass = encoded.zero_shot(&model.clip, &classifier);
        if request.settings.needs_labels() {
            let labels = OracleLabels {
                path: request.oracle_labels.as_ref().unwrap_or(&request.images),
                options: request.image_options(),
            };
            pass.known = Some(images.oracle(labels, &request.classes, &encoded.indices)?);
        }
        let parameters = model.parameters.clone();
        let (state, total_steps, trained_parameters, epochs) = match self.adaptation {
            Some(adaptation) => {
                let trained = adaptation.trained_len(&parameters);
                let state = adaptation.begin(parameters, &pass)?;
                let total_steps = adaptation.total_steps(&state.memory, pass.images());
                let epochs = adaptation.epochs(&state.memory, pass.images());
                (state, total_steps, trained, Some(epochs))
            }
            None => (AdaptState::untrained(parameters), 0, 0, None),
        };
        let epoch = EpochRecord {
            epoch: 0,
            step: 0,
            view: WatchedView::Test,
            signs: measured.signs,
            criterion: state.watch.best.as_ref().map(|best| best.value),
        };
        let record = RunRecord {
            format_version: FORMAT_VERSION,
            ueo_version: env!("CARGO_PKG_VERSION").to_owned(),
            status: RunStatus::Incomplete,
            request: (*request).clone(),
            base: model.base.clone(),
            context_template: model.templates()[0].context().to_owned(),
            images: ImagesRecord {
                used: encoded.indices.len(),
                skipped,
                left_out: images.left_out(),
                labels: Some(self.labels.record.clone()),
                fingerprint: fingerprint(images, &encoded.indices),
            },
            total_steps,
            epochs,
            trained_parameters,
            zero_shot_threshold: Some(measured.threshold),
            threshold: None,
            kept_epoch: None,
            adapted_sha256: None,
            zero_shot_signs: Some(measured.signs),
            adapted_signs: None,
            warnings: Vec::new(),
            zero_shot: measured.evaluation,
            adapted: None,
            engine: Some(EngineRecord::of(&self.job.model.clip)?),
            adaptation_secs: 0.0,
        };
        Ok(Prepared {
            record,
            state,
            features: encoded.features,
            used: encoded.indices,
            zero_shot_classes: results.iter().map(|r| r.zero_shot.class).collect(),
            results,
            epochs: vec![epoch],
        })
    }

    /// What the checkpoint says about the images.
    fn judge_zero_shot(
        &self,
        encoded: &ImageFeatures,
        classifier: &Classifier,
        reporter: &mut dyn Reporter,
    ) -> Result<(Vec<ImageResult>, Measured), RunError> {
        let (job, images) = (self.job, self.images);
        let labels = self.labels.labels.as_ref();
        let labels = labels.map(|labels| labels.of(&encoded.indices));
        let judge = Judge {
            scorer: &job.scorer,
            classifier,
            method: Method::ZeroShot,
            parameters: &job.model.parameters,
        };
        let table = judge.table(encoded)?;
        // Against itself nothing has changed.
        let classes = job.scorer.predictions(&table)?.classes;
        let mut measured = judge_images(
            &judge,
            &table,
            &job.scoring(),
            labels.as_ref(),
            &classes,
            reporter,
        )?;
        let answers = std::mem::take(&mut measured.answers);
        let results = encoded.indices.iter().zip(answers).enumerate();
        let results = results
            .map(|(row, (&index, zero_shot))| ImageResult {
                path: images.id(index).to_owned(),
                label: labels
                    .as_ref()
                    .and_then(|labels| labels.true_label(row, &job.request.classes)),
                zero_shot,
                adapted: None,
            })
            .collect();
        Ok((results, measured))
    }
}
