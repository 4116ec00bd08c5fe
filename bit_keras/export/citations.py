"""Whom to cite for a family of networks, as BibTeX."""

from bit_keras import models

_BIT = """\
@inproceedings{kolesnikov2020bit,
  title={Big Transfer (BiT): General Visual Representation Learning},
  author={Kolesnikov, Alexander and Beyer, Lucas and Zhai, Xiaohua and
          Puigcerver, Joan and Yung, Jessica and Gelly, Sylvain and
          Houlsby, Neil},
  booktitle={ECCV},
  year={2020},
  note={arXiv:1912.11370}
}"""

_VIT = """\
@inproceedings{dosovitskiy2021vit,
  title={An Image is Worth 16x16 Words: Transformers for Image Recognition
         at Scale},
  author={Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and
          Weissenborn, Dirk and Zhai, Xiaohua and Unterthiner, Thomas and
          Dehghani, Mostafa and Minderer, Matthias and Heigold, Georg and
          Gelly, Sylvain and Uszkoreit, Jakob and Houlsby, Neil},
  booktitle={ICLR},
  year={2021},
  note={arXiv:2010.11929}
}"""

_MIXER = """\
@inproceedings{tolstikhin2021mixer,
  title={MLP-Mixer: An all-MLP Architecture for Vision},
  author={Tolstikhin, Ilya and Houlsby, Neil and Kolesnikov, Alexander and
          Beyer, Lucas and Zhai, Xiaohua and Unterthiner, Thomas and
          Yung, Jessica and Steiner, Andreas and Keysers, Daniel and
          Uszkoreit, Jakob and Lucic, Mario and Dosovitskiy, Alexey},
  booktitle={NeurIPS},
  year={2021},
  note={arXiv:2105.01601}
}"""

_FAMILIES = {models.BIT: _BIT, models.VIT: _VIT, models.MIXER: _MIXER}


def citation(builder: str) -> str | None:
    """Returns the entry for a family; None: of a family of somebody else.

    Args:
        builder: "module:class", as `models.register` takes it.

    Example:

    >>> citation(models.MIXER).splitlines()[0]
    '@inproceedings{tolstikhin2021mixer,'
    """
    return _FAMILIES.get(builder)
