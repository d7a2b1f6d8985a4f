"""Data sets and transforms; importing this package registers them."""

from pointcept_bsa.datasets.airfoil import AirfoilDataset
from pointcept_bsa.datasets.airfrans import AirfRANSSurfaceDataset
from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.buckets import BucketPoints
from pointcept_bsa.datasets.car_sets.ahmedml import AhmedMLDataset
from pointcept_bsa.datasets.car_sets.drivaerml import DrivAerMLDataset
from pointcept_bsa.datasets.car_sets.drivaernet import DrivAerNetDataset
from pointcept_bsa.datasets.car_sets.windsorml import WindsorMLDataset
from pointcept_bsa.datasets.cosmology import CosmologyDataset
from pointcept_bsa.datasets.domain_transforms import AddSurfaceDistance, OneHotDomain, SampleDomainPoints
from pointcept_bsa.datasets.domains import JointFieldDataset
from pointcept_bsa.datasets.eagle import EagleDataset
from pointcept_bsa.datasets.elasticity import ElasticityDataset
from pointcept_bsa.datasets.ellipsoid_flow import EllipsoidFlowDataset
from pointcept_bsa.datasets.ellipsoid_flow_joint import EllipsoidFlowJointDataset
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.joined import JoinedDataset
from pointcept_bsa.datasets.molecular_dynamics import MolecularDynamicsDataset
from pointcept_bsa.datasets.nbody_box import NBodyBoxDataset
from pointcept_bsa.datasets.periodic_hills import PeriodicHillsDataset
from pointcept_bsa.datasets.pipe import PipeDataset
from pointcept_bsa.datasets.plasticity import PlasticityDataset
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.datasets.point_labels import CustomLabelDataset
from pointcept_bsa.datasets.proteins import ProteinSurfaceDataset
from pointcept_bsa.datasets.sample_anchors import SampleAnchors
from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.datasets.tissue_beams import TissueBeamsDataset
from pointcept_bsa.datasets.transforms import (
    AddGridCoord,
    CollectPoints,
    FourierFeatures,
    RandomMirror,
    SamplePoints,
    ScaleCoord,
    ScaleField,
)
from pointcept_bsa.datasets.tree_transforms import AddNeighbors, AddTreeOrder
from pointcept_bsa.datasets.ventricle import VentricleDataset

__all__ = [
    "AddGridCoord",
    "AddNeighbors",
    "AddSurfaceDistance",
    "AddTreeOrder",
    "AhmedMLDataset",
    "AirfRANSSurfaceDataset",
    "AirfoilDataset",
    "BucketPoints",
    "CollectPoints",
    "CosmologyDataset",
    "CustomFieldDataset",
    "CustomLabelDataset",
    "DrivAerMLDataset",
    "DrivAerNetDataset",
    "EagleDataset",
    "ElasticityDataset",
    "EllipsoidFlowDataset",
    "EllipsoidFlowJointDataset",
    "FolderDataset",
    "FourierFeatures",
    "JoinedDataset",
    "JointFieldDataset",
    "MolecularDynamicsDataset",
    "NBodyBoxDataset",
    "OneHotDomain",
    "PeriodicHillsDataset",
    "PipeDataset",
    "PlasticityDataset",
    "PointFieldDataset",
    "ProteinSurfaceDataset",
    "RandomMirror",
    "RunningStatistics",
    "SampleAnchors",
    "SampleDomainPoints",
    "SamplePoints",
    "ScaleCoord",
    "ScaleField",
    "ShapeNetCarDataset",
    "TissueBeamsDataset",
    "VentricleDataset",
    "WindsorMLDataset",
]
