"""SigLIPs at the hub: what transformers calls their repositories and configurations, and what their authors measured.

Repositories and accuracies of SigLIP 2 are those of big_vision/configs/proj/image_text/README_siglip2.md of
github.com/google-research/big_vision at commit 1659d4297dc62e138a9cd509e3a39855afc6d984. The weights of SigLIP are the
same in both layouts, and open_clip's authors measured them.
"""

import timm
import torch

# Architecture in open_clip: repository in transformers' layout, side of its input image, accuracy that the authors state.
SIGLIP_2 = {
    "ViT-B-32-SigLIP2-256": ("google/siglip2-base-patch32-256", 256, 74.0),
    "ViT-B-16-SigLIP2": ("google/siglip2-base-patch16-224", 224, 78.2),
    "ViT-B-16-SigLIP2-256": ("google/siglip2-base-patch16-256", 256, 79.1),
    "ViT-B-16-SigLIP2-384": ("google/siglip2-base-patch16-384", 384, 80.6),
    "ViT-B-16-SigLIP2-512": ("google/siglip2-base-patch16-512", 512, 81.2),
    "ViT-L-16-SigLIP2-256": ("google/siglip2-large-patch16-256", 256, 82.5),
    "ViT-L-16-SigLIP2-384": ("google/siglip2-large-patch16-384", 384, 83.1),
    "ViT-L-16-SigLIP2-512": ("google/siglip2-large-patch16-512", 512, 83.5),
    "ViT-SO400M-14-SigLIP2": ("google/siglip2-so400m-patch14-224", 224, 83.2),
    # Six pixels of 384 fill no patch of 14, so open_clip has it with 378.
    "ViT-SO400M-14-SigLIP2-378": ("google/siglip2-so400m-patch14-384", 384, 84.1),
    "ViT-SO400M-16-SigLIP2-256": ("google/siglip2-so400m-patch16-256", 256, 83.4),
    "ViT-SO400M-16-SigLIP2-384": ("google/siglip2-so400m-patch16-384", 384, 84.1),
    "ViT-SO400M-16-SigLIP2-512": ("google/siglip2-so400m-patch16-512", 512, 84.3),
    "ViT-gopt-16-SigLIP2-256": ("google/siglip2-giant-opt-patch16-256", 256, 84.5),
    "ViT-gopt-16-SigLIP2-384": ("google/siglip2-giant-opt-patch16-384", 384, 85.0),
}
SIGLIP = {
    "ViT-B-16-SigLIP": ("google/siglip-base-patch16-224", 224),
    "ViT-B-16-SigLIP-256": ("google/siglip-base-patch16-256", 256),
    "ViT-B-16-SigLIP-384": ("google/siglip-base-patch16-384", 384),
    "ViT-B-16-SigLIP-512": ("google/siglip-base-patch16-512", 512),
    "ViT-B-16-SigLIP-i18n-256": ("google/siglip-base-patch16-256-multilingual", 256),
    "ViT-L-16-SigLIP-256": ("google/siglip-large-patch16-256", 256),
    "ViT-L-16-SigLIP-384": ("google/siglip-large-patch16-384", 384),
    "ViT-SO400M-14-SigLIP-384": ("google/siglip-so400m-patch14-384", 384),
}


def transformers_configuration(model: dict, image_size: int) -> dict:
    """`config.json` in transformers' layout, of open_clip's configuration of the same architecture."""
    with torch.device("meta"):
        trunk = timm.create_model(model["vision_cfg"]["timm_model_name"], num_classes=0)
    text = model["text_cfg"]
    return {
        "model_type": "siglip",
        "architectures": ["SiglipModel"],
        "text_config": {
            "model_type": "siglip_text_model",
            "hidden_size": text["width"],
            "num_attention_heads": text["heads"],
            "num_hidden_layers": text["layers"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4)),
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "projection_size": model["embed_dim"],
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": trunk.embed_dim,
            "num_attention_heads": trunk.blocks[0].attn.num_heads,
            "num_hidden_layers": len(trunk.blocks),
            "intermediate_size": trunk.blocks[0].mlp.fc1.out_features,
            "patch_size": trunk.patch_embed.patch_size[0],
            "image_size": image_size,
        },
    }
