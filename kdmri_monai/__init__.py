"""Knowledge distillation across architectures for brain-tumour MRI, as MONAI components and bundles."""

__version__ = "0.1.0"
