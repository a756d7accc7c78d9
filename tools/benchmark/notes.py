"""What people found out about the measurements and no program can compute: the text under the table of targets."""

LIMITS = """## What limits

The targets were set after a trial on another machine (Zen 5), where PyTorch reaches 171 to 195 GFLOP/s in f32 on two threads, less than half
of what the `gemm` crate reaches there. On this processor (Zen 4) PyTorch's f32 products run at about nine tenths of the best rate, and its bf16 products at the same
rate as ueo's, so there is little for faster products to win. The table above gives what a program could reach at most here: at 50 classes, all wanted ratios
of whole steps but that of bf16 to PyTorch's bf16 lie beyond it, and so does that of f32 to tuned PyTorch at 345. What ueo wins is what it does not compute: the prompts' shared prefix, the padding of shorter
names, the last block behind the class token.

- Image encoding is bound the same way: ueo runs at about nine tenths of the product rate and open_clip at two thirds.
- RN50 misses its target; it was not profiled, so what limits it is not known.
- The rows of 345 classes do not include torch.compile, which made PyTorch a few percent faster at 50 classes.
- The released way at 345 classes was not measured here. On an Intel machine (Sapphire Rapids), an earlier version of ueo in f32 was 10.0
  times as fast at 345 classes and 2.1 times at 50.
- Peak memory: with trimmed prompts, PyTorch needs less than three times ueo's, because both keep the activations of all 64 images for the
  backward pass. `--micro-batch 16` bounds it by those of 16 images and leaves the gradient as it is.

The machine was shared with other work, so the times are processor time divided by threads (`--clock processor`), one round per row,
and not every program was measured in one sitting. Peak memory does not depend on that. The efficiency of two threads needs a quiet
machine and was not measured, nor was RN50 with channels-last images.
The loader's rates with two threads come from a busy machine and are too low.
"""
