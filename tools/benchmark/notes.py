"""What people found out about the measurements and no program can compute: the text under the table of targets."""

LIMITS = """## What limits

The targets were set after a trial on another machine (Zen 5), where PyTorch reaches 171 to 195 GFLOP/s in f32 on two threads, less than half
of what the `gemm` crate reaches there. On this processor (Zen 4) PyTorch's products run at 88 to 101 GFLOP/s per thread in f32, nine tenths of
the best rate, and in bf16 at the same rate as ueo's, so faster products win little. The table above gives what a program could reach
at most here. ueo's steps run at 92 % (f32) and 83 % (bf16) of that rate; every target of a whole ViT step that is missed lies
beyond it, but for those against the released way at 345 classes, which are missed by 5 and 8 %. What ueo wins is what it does not compute: the prompts'
shared prefix, the padding of shorter names, the last block behind the token that is read.

- Image encoding runs at 96 % of the best product rate; nothing but less work could make it faster in f32. `--precision bf16` encodes 2.8
  times as many images per second as open_clip in f32.
- RN50: four fifths of a step are products, most of them those of 1 x 1 convolutions; 3 x 3 convolutions are filtered (docs/backward.md).
  BatchNorm's backward pass is the largest other part, 6 %.
- Peak memory: with trimmed prompts PyTorch needs 1.9 times ueo's, because both keep the activations of all 64 images for the backward
  pass. `--micro-batch 16` bounds ueo's by those of 16 images (2.4 GiB) and leaves the gradient as it is, at the price of a second
  forward pass.
- PyTorch's rows of peak memory were measured earlier, on a busy machine: their memory counts, their times do not.
- Ratios depend on the machine's PyTorch. Where its f32 products are slow, as in the trial, they are far larger.
"""
