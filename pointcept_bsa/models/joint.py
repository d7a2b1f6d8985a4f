"""Several domains in one cloud: a head, losses and a weight for each, over one backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from pointcept_bsa.distributed.parts import whole_lengths
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN, DOMAIN_OFFSET, domain_lengths
from pointcept_bsa.host import LOSSES, MODELS
from pointcept_bsa.layers.anchors import Memory
from pointcept_bsa.models.heads import predicts_variance
from pointcept_bsa.models.regressor import DefaultRegressor
from pointcept_bsa.models.scalars import with_scalars
from pointcept_bsa.models.widths import filled
from pointcept_bsa.samples import WHOLE_PREFIX, lengths

OF_A_DOMAIN = ("head", "criteria", "weight")
OF_POINTS = ("pred", "variance")  # outputs with a row a point


@MODELS.register_module("DomainHeads")
class DomainHeads(nn.Module):
    """The heads of all domains on all points: (N, C) -> (N, K), the channels of one domain after those of another.

    What a head says at points of other domains is nobody's business; shapes do not depend on whose the points are.
    Heads of distributions (``GaussianHead``, in all domains then) give mean and standard deviation, (N, K) each.

    Args:
        heads: config of a head with ``out_channels`` by domain.
        in_channels: of those that do not say theirs.

    Raises:
        InputError: heads for features of different widths; some of distributions beside some of values.
    """

    def __init__(self, heads: Mapping[str, Mapping[str, Any]], in_channels: int | None = None):
        super().__init__()
        built: dict[str, Any] = {
            name: MODELS.build(filled(head, in_channels=in_channels)) for name, head in heads.items()
        }
        self.heads = nn.ModuleDict(built)
        taken = {name: head.in_channels for name, head in built.items()}
        if len(set(taken.values())) > 1:
            raise InputError(f"domains: the heads have in_channels {taken}, wanted the backbone's features in all")
        self.in_channels = next(iter(taken.values()))
        self.out_channels = sum(head.out_channels for head in built.values())
        self.widths: dict[str, int] = {name: head.out_channels for name, head in built.items()}
        kinds = {name: predicts_variance(head) for name, head in built.items()}
        if len(set(kinds.values())) > 1:
            plain = [name for name, gaussian in kinds.items() if not gaussian]
            raise InputError(f"domains: the heads of {plain} predict no variance, wanted GaussianHead in all or none")
        self.predicts_variance = any(kinds.values())

    def forward(self, feat: Tensor) -> Any:
        found = [head(feat) for head in self.heads.values()]
        if not self.predicts_variance:
            return torch.cat(found, dim=-1)
        return tuple(torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))


@MODELS.register_module("JointRegressor")
class JointRegressor(DefaultRegressor):
    """Predicts the fields of every domain at its points; the backbone sees the points of all domains as one cloud.

    ``N`` points of ``B`` clouds, ``D`` domains, ``K`` channels of all domains together, those of the first one first.

    loss = sum over the domains of weight * sum of their criteria, each over the domain's points and channels alone.

    With ``GaussianHead`` in every domain it predicts distributions, as :class:`.GaussianRegressor`.

    Args:
        backbone: as :class:`.DefaultRegressor`; features may say whose a point is (``OneHotDomain``).
        domains: by name, in the order of the data set: ``dict(head=..., criteria=[...], weight=1.0)``.
        normalizer: config of the target normaliser, which has all K channels; statistics of a channel are those of
            its own domain.
        norm, anchor_loss, scalars: as :class:`.DefaultRegressor`.

    Raises:
        InputError: no domains, one without head or criteria, a weight below 0, a loss that cannot leave out points.
    """

    takes_variance = hands_on = True

    def __init__(
        self,
        backbone: Mapping[str, Any],
        domains: Mapping[str, Mapping[str, Any]],
        normalizer: Mapping[str, Any],
        norm: str = "batch",
        anchor_loss: bool = True,
        scalars: Mapping[str, Any] | None = None,
    ):
        self._check(domains)
        heads = dict(type="DomainHeads", heads={name: domain["head"] for name, domain in domains.items()})
        super().__init__(backbone, heads, normalizer, (), norm=norm, anchor_loss=anchor_loss, scalars=scalars)
        built = {name: nn.ModuleList(LOSSES.build(c) for c in domain["criteria"]) for name, domain in domains.items()}
        self.domain_criteria = nn.ModuleDict(built)
        self.weights = {name: float(domain.get("weight", 1.0)) for name, domain in domains.items()}
        for name, criteria in built.items():
            for criterion in criteria:
                if not getattr(criterion, "takes_valid", False):
                    raise InputError(
                        f"domains.{name}.criteria: {type(criterion).__name__} would count points of other domains, "
                        "wanted a loss with takes_valid"
                    )
        channels = sum(self.domains.values())
        if len(self.normalizer.mean) != channels:
            raise InputError(
                f"normalizer.channels: got {len(self.normalizer.mean)}, wanted {channels} as the domains have "
                f"({self.domains})"
            )
        owner = torch.repeat_interleave(torch.arange(len(self.domains)), torch.tensor(list(self.domains.values())))
        self.owner: Tensor
        self.register_buffer("owner", owner, persistent=False)  # (K,) the domain of each channel

    @property
    def domains(self) -> dict[str, int]:
        """Channels of each domain, in order."""
        return dict(self.head.widths)

    def forward(self, input_dict: Mapping[str, Any]) -> dict[str, Tensor]:
        """One batch with ``domain`` (N,).

        Returns:
            In training ``loss`` and the weighted part of each domain, "surface_loss": scalars only.
            In evaluation ``pred`` (N, K) in physical units (of distributions ``variance``, too), NaN in the channels of
            other domains, and these losses if the batch has a ``target``.

        Raises:
            InputError: a batch without ``domain``, with an unknown one, in training a cloud without points of a domain;
                a target of another width.
        """
        valid = self.counted(input_dict)
        self.check_points(input_dict)
        feat = self.features(input_dict)
        pred, variance = self.distribution(feat)
        target = input_dict.get("target")
        if self.training and target is None:
            raise InputError("target: missing from the batch, wanted (N, K) values to train on")
        domain = input_dict[DOMAIN]
        out = {} if target is None else self.domain_losses(pred, target, input_dict["offset"], domain, valid, variance)
        if not self.training:
            out |= self.own_channels(self.physical(pred, variance), domain)
        return with_scalars(out, self.scalars, feat, input_dict, self.training)

    def losses_of_points(self) -> Iterable[nn.Module]:
        return (criterion for criteria in self.domain_criteria.values() for criterion in cast(nn.ModuleList, criteria))

    def decode(self, memory: Memory, input_dict: Mapping[str, Any], rows: int | None = None) -> dict[str, Tensor]:
        """As :class:`.DefaultRegressor`, of queries with ``domain``."""
        return self.own_channels(super().decode(memory, input_dict, rows), input_dict[DOMAIN])

    @property
    def predicts_variance(self) -> bool:
        """Whether the heads are those of distributions."""
        return predicts_variance(self.head)

    def distribution(self, feat: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normalised prediction (N, K) and, of distributions, its variance, in single precision."""
        if not self.predicts_variance:
            return super().normalized(feat), None
        mean, std = self.head(feat)
        return mean, std.square()

    def normalized(self, feat: Tensor) -> Tensor:
        return self.distribution(feat)[0]

    def physical(self, pred: Tensor, variance: Tensor | None) -> dict[str, Tensor]:
        """``pred`` and maybe ``variance`` of normalised values."""
        spread = {} if variance is None else {"variance": variance * self.normalizer.std.double().square()}
        return {"pred": self.normalizer.denormalize(pred), **spread}

    def outputs(self, feat: Tensor) -> dict[str, Tensor]:
        return self.physical(*self.distribution(feat))

    def own_channels(self, out: dict[str, Tensor], domain: Tensor) -> dict[str, Tensor]:
        """Outputs with NaN in the channels of other domains, of what has a row a point."""
        strange = domain.unsqueeze(1) != self.owner
        of_points = {key: value.masked_fill(strange, torch.nan) for key, value in out.items() if key in OF_POINTS}
        return out | of_points

    def domain_losses(
        self,
        pred: Tensor,
        target: Tensor,
        offset: Tensor,
        domain: Tensor,
        valid: Tensor | None = None,
        variance: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The total ``loss`` and each domain's part of it; ``valid`` (N,) where the batch is padded."""
        if target.shape != pred.shape:
            raise InputError(f"target: got {target.shape[-1]} channels, wanted {pred.shape[-1]} ({self.domains})")
        normalized, physical = self.normalizer.normalize(target), self.normalizer.denormalize(pred)
        parts, first = {}, 0
        for number, (name, width) in enumerate(self.domains.items()):
            own = slice(first, first + width)
            rows = domain == number if valid is None else (domain == number) & valid
            part, own_variance = pred.new_zeros(()), None if variance is None else variance[:, own]
            criteria: Any = self.domain_criteria[name]
            for criterion in criteria:
                in_units = getattr(criterion, "physical", False)
                values, truth = (physical, target) if in_units else (pred, normalized)
                doubt = {"variance": own_variance} if getattr(criterion, "takes_variance", False) else {}
                part = part + criterion(values[:, own], truth[:, own], offset, valid=rows, **doubt)
            parts[f"{name}_loss"] = self.weights[name] * part
            first += width
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def check_points(self, batch: Mapping[str, Any]) -> None:
        """Raise InputError for a batch without domains, or in training without points of one; nothing waits for it."""
        if DOMAIN in batch and DOMAIN_OFFSET not in batch and batch[DOMAIN].is_cuda:
            return
        names = list(self.domains)
        counts = domain_lengths(batch, lengths(batch), len(names))
        if WHOLE_PREFIX + DOMAIN_OFFSET in batch:  # a part need not have points of all
            counts = whole_lengths(batch, DOMAIN_OFFSET)
        if self.training and 0 in counts:
            cloud, number = divmod(counts.index(0), len(names))
            raise InputError(f"{DOMAIN}: cloud {cloud} of the batch has no points of {names[number]!r}, wanted some")

    @staticmethod
    def _check(domains: Mapping[str, Mapping[str, Any]]) -> None:
        if not domains:
            raise InputError("domains: got none, wanted dict(surface=dict(head=..., criteria=[...]), ...)")
        for name, domain in domains.items():
            for key in domain:
                if key not in OF_A_DOMAIN:
                    raise InputError(f"domains.{name}: got {key!r}, wanted {OF_A_DOMAIN}{nearest(key, OF_A_DOMAIN)}")
            for key in ("head", "criteria"):
                if not domain.get(key):
                    raise InputError(f"domains.{name}.{key}: got none, wanted one")
            weight = domain.get("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise InputError(f"domains.{name}.weight: got {weight!r}, wanted a number of at least 0")
        if not any(domain.get("weight", 1.0) for domain in domains.values()):
            raise InputError("domains: every weight is 0, wanted one above")
