"""What people found out about the measurements and no program can compute: names, and the text around the tables."""

# Processors by what people call them.
NAMES = {
    "AMD EPYC (family 25, model 17)": "EPYC, Zen 4",
    "AMD EPYC (family 26, model 2)": "EPYC, Zen 5",
}

LIMITS = """## What limits

- On Zen 5, PyTorch's f32 products run at half the rate of ueo's, so f32 is far ahead; its bf16 products run at the same rate, so what ueo wins
  in bf16 is what it does not compute: the prompts' shared prefix, the padding of shorter names, the last block behind the token that is
  read, weight gradients.
- On Zen 4 PyTorch's f32 products reach nine tenths of the best rate. Every target of a whole step that is missed there lies beyond what
  products at the best rate could reach, but for those against the released way at 345 classes, missed by 5 and 8 %.
- Image encoding in f32 runs at 96 % of the best product rate (Zen 4); nothing but less work could make it faster.
- Image encoding in bf16 runs at 85 % of the best product rate on Zen 5 and misses 1.2 times open_clip's speed by 3 %. Attention's own products
  stay in f32: 4 % of the operations at half of bf16's rate, so 3 % of the time. The rest is softmax, LayerNorm, the activation and the patch
  embedding.
- RN50: four fifths of a step are products, most of them those of 1 x 1 convolutions. 3 x 3 convolutions are filtered (docs/backward.md)
  and stay f32 in every precision, so bf16 wins less there than in a transformer.
- Peak memory: with trimmed prompts PyTorch needs 1.9 times ueo's, because both keep the activations of all 64 images for the backward
  pass. `--micro-batch 16` bounds ueo's by those of 16 images (2.4 GiB) and leaves the gradient as it is, at the price of a second
  forward pass.
- A step of `last-4` that has its inputs runs 4 of 12 blocks and the text tower. With a single token read behind the last block that is
  a third of the image tower's work, less a little; the text tower is the same.
- PyTorch's rows of peak memory on Zen 4 were measured earlier, on a busy machine: their memory counts, their times do not.
"""

BEFORE_AMX = """## Intel with AMX

The path for AMX was written for a Xeon (family 6, model 207) and has not been measured there yet: no such machine was at hand since. On other
processors its arithmetic is tested in software (`UEO_INSTRUCTION_SET=amx-emulated`), and on a processor with AMX the first use compares its
products with plain loops and leaves the path on a mismatch. What was measured on that Xeon before, two threads, ViT-B/16, batch 16, 50
classes, seconds per step (products in GFLOP/s per thread):

| | step f32 | step bf16 | products f32 | products bf16 |
|---|---|---|---|---|
| ueo without AMX | 4.39 | 7.82 | 120 to 149 | 76 to 84 |
| PyTorch tuned, compiled | 5.12 | 2.73 | 134 to 158 | 717 to 762 |
| released way | 9.78 | | | |

Pairs of bf16 (AVX512-BF16) are slower than f32 there. ueo measures both at first use since then and takes the faster; run.json has what
was taken (`engine`).
"""

QUALITY = """## What it costs in quality

The shipped models (five blocks) on IconNet, six styles, open-partial shift, one seed; accuracy / AUROC (msp) in percent. `last-2` was
chosen before the validation classes were looked at: two blocks of five are the share that four of twelve are.

| | ResNet, validation | ResNet, test | ViT, validation | ViT, test |
|---|---|---|---|---|
| zero-shot | 60.3 / 61.9 | 63.7 / 71.6 | 56.4 / 66.1 | 58.8 / 63.2 |
| UEO, all blocks, a new view in every epoch | 62.4 / 65.4 | 62.8 / 73.1 | 57.2 / 65.2 | 59.9 / 64.5 |
| UEO, `last-2`, 4 views | 61.8 / 61.8 | 61.8 / 71.4 | 57.3 / 65.3 | 59.3 / 63.9 |

On the test classes the difference of `last-2` to zero-shot is -1.9 [-4.5, +0.6] / -0.3 [-3.1, +2.2] with the ResNet and +0.6 [-1.6, +2.8] /
+0.6 [-2.6, +3.4] with the ViT. With the ViT about half of the gain is left, with the ResNet none of that in telling unknown images
apart. The learning rates are those that were chosen for all blocks. With one seed such differences are hints, not findings. The commands, with
IconNet built (tools/iconnet/README.md), SUITE iconnet-validation or iconnet, and MODEL a shipped model:

    ueo benchmark --suite SUITE --model MODEL --output DIR --domains held-out --shifts open-partial --methods zero-shot,ueo --seeds 2023
    ueo benchmark --suite SUITE --model MODEL --output DIR --domains held-out --shifts open-partial --methods ueo --seeds 2023 \\
        --variant last-2 --set train-blocks=last-2 --set views=4

`--epochs` and `--precision bf16` cost less: DomainNet's published protocol has 5 epochs, and bf16 moves gradients by less than 1 %.

## SigLIP

A step of SigLIP ViT-B/16 takes 1.28 times the processor time of one of CLIP ViT-B/16 (31.7 and 24.9 seconds for four steps with 16 images
and 10 classes, zero-shot pass and start included; random weights, EPYC, Zen 5, two busy cores): texts are 64 tokens long, padding included,
and are not cut after their last word. `tools/benchmark/random_models.py` makes both models.
"""
