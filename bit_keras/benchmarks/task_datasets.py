"""The TFDS datasets behind the built-in tasks.

Versions are those that TFDS 4.9.10 can prepare, its default first.  They stand
for one set of examples in one order: slices of splits, and so the tasks, depend
on the order of the files.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What all tasks over one dataset share.

    Attributes:
        name: TFDS `name[/config]`.
        versions: Accepted versions, the one to prepare first.
        citation: Where the data were published.
        manual: TFDS's words on downloading by hand; `None`: TFDS downloads.
    """

    name: str
    versions: tuple[str, ...]
    citation: str
    manual: str | None = None


_IMAGENET = (
    "manual_dir should contain two files: ILSVRC2012_img_train.tar and "
    "ILSVRC2012_img_val.tar. You need to register on "
    "https://image-net.org/download-images in order to get the link to "
    "download the dataset."
)

_ALL = (
    Dataset(
        "caltech101",
        ("3.0.2",),
        "Fei-Fei, Fergus, Perona: Learning generative visual models from few "
        "training examples, CVPR Workshop 2004",
    ),
    Dataset(
        "caltech_birds2011",
        ("0.2.0",),
        "Wah et al.: The Caltech-UCSD Birds-200-2011 dataset, 2011",
    ),
    Dataset(
        "cars196",
        ("2.1.0",),
        "Krause et al.: 3D object representations for fine-grained "
        "categorization, 3dRR 2013",
    ),
    Dataset(
        "cifar10",
        ("3.0.2",),
        "Krizhevsky: Learning multiple layers of features from tiny images, "
        "2009",
    ),
    Dataset(
        "cifar100",
        ("3.0.2",),
        "Krizhevsky: Learning multiple layers of features from tiny images, "
        "2009",
    ),
    Dataset(
        "clevr",
        ("3.1.0", "3.0.0"),
        "Johnson et al.: CLEVR, CVPR 2017; as a task: arXiv 1910.04867",
    ),
    Dataset(
        "colorectal_histology",
        ("2.0.0",),
        "Kather et al.: Multi-class texture analysis in colorectal cancer "
        "histology, Scientific Reports 6, 2016",
    ),
    Dataset(
        "diabetic_retinopathy_detection/btgraham-300",
        ("3.0.0",),
        "Kaggle and EyePACS: Diabetic Retinopathy Detection, 2015",
        manual="You have to download this dataset from "
        "https://www.kaggle.com/c/diabetic-retinopathy-detection/data. Unpack "
        "test.zip into test/ in manual_dir, sample.zip into sample/, and the "
        "two files sampleSubmissions.csv and trainLabels.csv.",
    ),
    Dataset(
        "dmlab",
        ("2.0.1",),
        "Zhai et al.: The Visual Task Adaptation Benchmark, arXiv 1910.04867",
    ),
    Dataset(
        "dsprites",
        ("2.0.0", "2.1.0"),
        "Matthey et al.: dSprites, 2017; as a task: arXiv 1910.04867",
    ),
    Dataset(
        "dtd",
        ("3.0.1",),
        "Cimpoi et al.: Describing textures in the wild, CVPR 2014",
    ),
    Dataset(
        "eurosat/rgb",
        ("2.0.0",),
        "Helber et al.: EuroSAT, arXiv 1709.00029",
    ),
    Dataset(
        "imagenet2012",
        ("5.1.0", "5.0.0"),
        "Russakovsky et al.: ImageNet Large Scale Visual Recognition "
        "Challenge, IJCV 2015",
        manual=_IMAGENET,
    ),
    Dataset(
        "imagenet2012_subset/10pct",
        ("5.0.0",),
        "Russakovsky et al., IJCV 2015; subset: Chen et al., arXiv 2002.05709",
        manual=_IMAGENET,
    ),
    Dataset(
        "kitti",
        ("3.3.0", "3.2.0", "3.1.0"),
        "Geiger, Lenz, Urtasun: Are we ready for autonomous driving?, CVPR "
        "2012; as a task: arXiv 1910.04867",
    ),
    Dataset(
        "oxford_flowers102",
        ("2.1.1",),
        "Nilsback, Zisserman: Automated flower classification over a large "
        "number of classes, ICVGIP 2008",
    ),
    Dataset(
        "oxford_iiit_pet",
        # The 3.*.* of the VTAB code cannot be had any more; 4.0.0 repairs
        # corrupt images.
        ("4.0.0",),
        "Parkhi et al.: Cats and dogs, CVPR 2012",
    ),
    Dataset(
        "patch_camelyon",
        ("2.0.0",),
        "Veeling et al.: Rotation equivariant CNNs for digital pathology, 2018",
    ),
    Dataset(
        "resisc45",
        ("3.0.0",),
        "Cheng, Han, Lu: Remote sensing image scene classification, "
        "Proceedings of the IEEE 105, 2017",
        manual="Dataset can be downloaded from OneDrive: "
        "https://1drv.ms/u/s!AmgKYzARBl5ca3HNaHIlzp_IXjs. After downloading "
        "the rar file, please extract it to the manual_dir.",
    ),
    Dataset(
        "smallnorb",
        ("2.0.0", "2.1.0"),
        "LeCun, Huang, Bottou: Learning methods for generic object "
        "recognition, CVPR 2004",
    ),
    Dataset(
        "sun397/tfds",
        ("4.0.0",),
        "Xiao et al.: SUN database, CVPR 2010",
    ),
    Dataset(
        "svhn_cropped",
        ("3.1.0",),
        "Netzer et al.: Reading digits in natural images, NIPS Workshop 2011",
    ),
    Dataset(
        "uc_merced",
        ("2.0.0",),
        "Yang, Newsam: Bag-of-visual-words and spatial extensions for land-use "
        "classification, ACM GIS 2010",
    ),
)

DATASETS = {dataset.name: dataset for dataset in _ALL}
