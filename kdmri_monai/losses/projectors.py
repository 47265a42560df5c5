"""What stands between the student's features and the teacher's: it learns, and it is on the student's side only."""

from monai.networks.layers import Conv
from torch import nn


def mlp_projector(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two layers that keep a term away from the student's own representation.

    ``Linear(d, 2 d)``, batch norm, GELU, ``Linear(2 d, D)``; no activation at the end. Maps ``(B, d)`` to ``(B, D)``.

    Source: Zhang et al., "Cross-Architecture Distillation Made Simple with Redundancy Suppression", ICCV 2025.

    Args:
        in_channels: ``d`` of the student.
        out_channels: ``D`` of the teacher.
    """
    hidden = 2 * in_channels
    return nn.Sequential(
        nn.Linear(in_channels, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, out_channels)
    )


def orthogonal_projector(in_channels: int, out_channels: int) -> nn.Linear:
    """Linear map without bias whose matrix is orthogonal at every step of the optimiser.

    For ``out_channels >= in_channels`` the columns are orthonormal, ``P'P = I``: lengths and angles of the student's
    features are kept, so that the term can only be met by the features. For fewer channels out than in the rows are,
    ``PP' = I``: the features are projected on a subspace, and the rest of them is free.

    Source: Miles et al., "VkD: Improving Knowledge Distillation using Orthogonal Projections", CVPR 2024, section 3.
    Differs: the matrix comes from a skew-symmetric one by the Cayley map, which costs about a tenth of the matrix
    exponential of the paper and reaches the same matrices but for those with an eigenvalue of -1.

    Args:
        in_channels: Channels of the student.
        out_channels: Channels of the teacher.
    """
    linear = nn.Linear(in_channels, out_channels, bias=False)
    nn.init.orthogonal_(linear.weight)
    nn.utils.parametrizations.orthogonal(linear, orthogonal_map="cayley")
    return linear


def pointwise_projector(in_channels: int, out_channels: int, spatial_dims: int) -> nn.Module:
    """The same linear map at every position.

    Args:
        in_channels: Channels of the student.
        out_channels: Channels of the teacher.
        spatial_dims: 0 for vectors ``(B, C)``; 1, 2 or 3 for maps ``(B, C, *spatial)``.
    """
    if spatial_dims == 0:
        return nn.Linear(in_channels, out_channels)
    convolution: nn.Module = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=1)
    return convolution
