"""Turn a raw download into the folder that the data sets read.

python tools/prepare_data.py shapenet_car --src <mlcfd_data folder> --dst data/shapenet_car
python tools/prepare_data.py shapenet_car --download --dst data/shapenet_car
python tools/prepare_data.py shapenet_car --src shapenet_car_mini.npz --dst data/shapenet_car_mini
python tools/prepare_data.py shapenet_car --src shapenet_car_{plaid_20,mini}.npz --dst data/shapenet_car_mini24
python tools/prepare_data.py periodic_hills --src periodic_hills_29.npz --dst data/periodic_hills
python tools/prepare_data.py elasticity --src <folder of Random_UnitCell_*_10.npy> --dst data/elasticity
python tools/prepare_data.py cosmology --src <folder of halos*.tfrecord> --dst data/cosmology
python tools/prepare_data.py airfrans --src airfrans_surface_cp_200.npz --dst data/airfrans
python tools/prepare_data.py beams --src soft_tissue_beams_fem.npz --dst data/beams
python tools/prepare_data.py ventricle --src lv_passive_fem_15.npz --dst data/ventricle
python tools/prepare_data.py proteins --src masif_pb_surface_59.npz --dst data/proteins
python tools/prepare_data.py nbody --src abacus_mini_n64_l32.npz --dst data/nbody
python tools/prepare_data.py md --src <folder of polymer_train, polymer_test and splits> --dst data/md
python tools/prepare_data.py airfoil --src <folder of NACA_Cylinder_{X,Y,Q}.npy> --dst data/airfoil
python tools/prepare_data.py pipe --src <folder of Pipe_{X,Y,Q}.npy> --dst data/pipe
python tools/prepare_data.py plasticity --src plas_N987_T20.mat --dst data/plasticity
python tools/prepare_data.py eagle --src <folder of Cre, Spl, Tri and splits> --dst data/eagle
python tools/prepare_data.py drivaerml --src <folder of run_1, run_2, ...> --dst data/drivaerml --domains surface
python tools/prepare_data.py ahmedml --src <folder of run_1, run_2, ...> --dst data/ahmedml
python tools/prepare_data.py windsorml --src <folder of run_0, ...> --splits manifest.json --dst data/windsorml
python tools/prepare_data.py drivaernet --src <folder> --splits train_val_test_splits --dst data/drivaernet
python tools/prepare_data.py custom --src <folder of your files> --dst data/custom --target pressure --dry-run
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments.prepare import prepare_parser
from pointcept_bsa.command import exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        arguments = prepare_parser(__doc__ or "").parse_args(argv)
        from pointcept_bsa.datasets.preparers import prepare

        prepare(**vars(arguments))
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
