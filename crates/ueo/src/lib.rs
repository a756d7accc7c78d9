//! Fine-tunes CLIP without labels (Universal Entropy Optimization).
