"""What a configuration may name: plain data, read by the judges of targets and of expressions.

Everything here was read in MONAI 1.6.1, PyTorch 2.13 and Ignite 0.5.5 for what its arguments can make it do; what can
import by name, unpickle, run programs, or fetch code is left out or named under ``DENIED`` with the reason.
"""

ROOTS = ("monai", "torch", "ignite", "kornia", "kdmri_monai")
"""Packages that are looked into. They are installed; nothing of a bundle is ever imported."""

PACKAGES = (
    *(f"monai.{part}" for part in ("transforms", "networks", "losses", "metrics", "data", "inferers", "engines")),
    *(f"monai.{part}" for part in ("handlers", "optimizers", "visualize")),
    *(f"monai.apps.{part}" for part in ("detection", "pathology", "vista3d", "reconstruction", "deepedit", "deepgrow")),
    "torch.nn.modules",
    "torch.nn.parallel.data_parallel",
    "torch.nn.parallel.distributed",
    "torch.optim",
    "torch.utils.data.dataloader",
    "torch.utils.data.dataset",
    "torch.utils.data.sampler",
    "torch.utils.data.distributed",
    "torch.utils.tensorboard.writer",
    "ignite.metrics",
    "ignite.handlers",
    "ignite.engine",
    "kornia.augmentation",
    *(f"kdmri_monai.{part}" for part in ("losses", "networks", "engines", "evaluation")),
    *(f"kdmri_monai.data.{part}" for part in ("readers", "transforms", "stored_scans", "scans")),
    *(f"kdmri_monai.report.{part}" for part in ("board", "scan_overlays")),
)
"""Where a class must be defined to count as a known component."""

_HUB = "runs code that torch.hub fetches, or finds in a folder that the bundle can choose"
_ENGINE = "loads compiled TensorRT programs"
_RUNS = "runs what the configuration of another folder names, which was not judged"
_LOGGER = "hands everything to a service that the bundle can choose"
DENIED = {
    "monai.losses.perceptual": _HUB,
    "monai.handlers.trt_handler": _ENGINE,
    "monai.networks.trt_compiler": _ENGINE,
    "monai.handlers.clearml_handlers": _LOGGER,
    "monai.handlers.mlflow_handler": _LOGGER,
    "monai.networks.nets.cell_sam_wrapper": "loads weights by another library, which may unpickle them",
    "monai.networks.nets.flexible_unet.FlexUNetEncoderRegister": "imports what it is given the name of",
    **{
        f"ignite.handlers.{name}_logger": _LOGGER
        for name in ("clearml", "mlflow", "neptune", "polyaxon", "visdom", "wandb")
    },
    "kdmri_monai.engines.run_student": _RUNS,
    "kdmri_monai.engines.configured": _RUNS,
    "kdmri_monai.engines.run_config": _RUNS,
    "kdmri_monai.evaluation.subject": _RUNS,
    "kdmri_monai.evaluation.examination": _RUNS,
    "kdmri_monai.evaluation.run_temperature": _RUNS,
}
"""Modules, and classes in ``PACKAGES``, that are not allowed, with the reason."""


def _under(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" if prefix else name for name in names.split())


BUILTINS = frozenset(
    _under(
        "",
        "abs all any bool dict enumerate filter float frozenset int isinstance iter len list map max min next print "
        "range repr reversed round set slice sorted str sum tuple zip",
    )
)
"""Built-in functions that are harmless whatever they are given."""

CHECKED_CALLS = frozenset(("type", "getattr", "setattr", "torch.load", "torch.distributed.init_process_group"))
"""Functions that are harmless in one form only, which ``audit_checked_calls`` knows."""

_PYTHON = (
    *_under("os.path", "abspath basename commonpath dirname exists expanduser isabs isdir isfile join normpath"),
    *_under("os.path", "realpath relpath split splitext getsize"),
    *_under("os", "listdir getcwd cpu_count fspath"),
    *_under("math", "ceil floor sqrt log log2 log10 exp pow prod isfinite"),
    *_under("", "glob.glob glob.iglob copy.copy copy.deepcopy time.time datetime.datetime.now pathlib.Path"),
    *_under("", "pathlib.PurePath itertools.chain functools.partial collections.OrderedDict json.dumps json.loads"),
    "random.seed",
)
_NUMPY = _under(
    "numpy",
    "abs arange argmax argmin array asarray ceil clip concatenate exp floor linspace log max mean min ones prod round "
    "sqrt stack std sum unique zeros dtype float16 float32 float64 int8 int16 int32 int64 uint8 uint16 bool_",
)
_TORCH = (
    *_under("torch", "abs arange argmax argmin as_tensor cat ceil clamp device exp eye flatten floor full log max"),
    *_under("torch", "mean min nan_to_num norm numel ones prod round sigmoid softmax sqrt squeeze stack std sum tanh"),
    *_under("torch", "tensor unsqueeze where zeros manual_seed set_float32_matmul_precision set_num_threads no_grad"),
    *_under("torch", "autocast Generator Size is_tensor from_numpy amp.autocast backends.mps.is_available"),
    *_under("torch.cuda", "is_available is_bf16_supported device_count current_device set_device empty_cache"),
    *_under("torch.cuda", "manual_seed manual_seed_all synchronize"),
    *_under("torch.distributed", "is_available is_initialized get_rank get_world_size destroy_process_group barrier"),
    *_under("torch.nn.functional", "softmax sigmoid relu interpolate one_hot pad normalize"),
    *_under("torch", "nn.utils.clip_grad_norm_ utils.data.random_split"),
)
_RESNETS = "resnet10 resnet18 resnet34 resnet50 resnet101 resnet152 resnet200"
_MONAI = (
    *_under("ignite", "utils.manual_seed distributed.get_rank distributed.get_world_size distributed.get_local_rank"),
    *_under("ignite.distributed", "device backend"),
    *_under("monai.utils", "set_determinism first ensure_tuple ensure_tuple_rep"),
    *_under("monai.data", "decollate_batch list_data_collate no_collation set_rnd pad_list_data_collate"),
    *_under("monai.data", "worker_init_fn load_decathlon_datalist partition_dataset partition_dataset_classes"),
    *_under("monai.data", "select_cross_validation_folds"),
    *_under("monai.handlers", "from_engine stopping_fn_from_metric stopping_fn_from_loss"),
    *_under("monai.engines", "default_prepare_batch default_make_latent"),
    *_under("monai.networks", "one_hot normalize_transform copy_model_state"),
    *_under("monai.networks.nets", _RESNETS),
    "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor",
)
_OURS = (
    *_under("kdmri_monai.engines", "batch_augmentation balanced_sampler load_teacher load_crossfitted switched_on"),
    *_under("kdmri_monai.engines", "explain_failures fit_temperature start_run teacher.teacher_facts start_from"),
    *_under("kdmri_monai.engines", "pretrained_facts fine_tuning_groups check_run_classes"),
    *_under("kdmri_monai.engines", "process_device join_processes leave_processes is_first_process share_of_batch"),
    *_under("kdmri_monai", "engines.synchronise_batch_norm networks.load_weights"),
    *_under("kdmri_monai.data.datalist", "read_datalist load_split read_classes check_num_classes"),
)
FUNCTIONS = frozenset((*_PYTHON, *_NUMPY, *_TORCH, *_MONAI, *_OURS))
"""Functions that may be called, in an expression or as a target, whatever they are given."""

MODULES = frozenset(
    (
        *_under("", "os os.path sys glob math copy time datetime pathlib json random itertools functools collections"),
        *_under("", "re typing logging warnings string statistics operator numpy scipy skimage pandas nibabel PIL"),
        *_under("", "einops tqdm torch ignite monai kornia kornia.augmentation kdmri_monai"),
        *_under("torch", "nn nn.functional optim distributed cuda utils.data"),
        *_under("ignite", "distributed engine handlers metrics utils"),
    )
)
"""Modules whose import is harmless, since every use of one is judged; also those of ``ROOTS``, where installed."""

CONSTANTS = frozenset(
    (
        *_under("", "math.pi math.inf math.nan numpy.pi numpy.inf numpy.nan numpy.newaxis torch.inf torch.pi"),
        *_under("os", "sep linesep path.sep curdir pardir"),
        *_under("", "monai.__version__ torch.__version__ numpy.__version__ ignite.__version__ torch.version.cuda"),
        *_under("torch", "float float16 float32 float64 half double bfloat16 int int8 int16 int32 int64 long uint8"),
        *_under("torch", "bool channels_last channels_last_3d contiguous_format"),
        *_under("torch.backends", "cudnn cudnn.benchmark cudnn.deterministic"),
        *_under("sys", "stdout stderr maxsize version_info platform"),
    )
)
"""Names that are values. ``torch.backends.cudnn`` stands here for ``setattr`` alone."""

BY_NAME = {"reader": "monai.data", "writer": "monai.data", "merger_cls": "monai.inferers.merger"}
"""Arguments whose text MONAI imports and calls (``LoadImage``, ``SaveImage``, ``PatchInferer``), with the module in
which short names are looked up."""

PLAIN_NAMES = frozenset(
    _under(
        "",
        "cucim openslide tifffile pydicomreader itkreader nrrdreader numpyreader pilreader nibabelreader wsireader",
    )
)
"""Values of ``reader`` that MONAI knows by themselves, in any case."""

FLAGS = {"allow_pickle": False, "weights_only": True, "trust_repo": False, "trust_remote_code": False}
"""Arguments that open or close the door to pickles or foreign code, with the value that closes it."""

NEVER = {
    "pickle_module": "chooses what unpickles",
    "_debug_": "opens a debugger",
}
"""Arguments that are never allowed, with the reason."""

FREE_NAMES = ("CSVSaver", "ClassificationSaver", "SaveClassification", "LogfileHandler", "WriteFileMapping")
"""Classes (and what begins with their names) that write text, to a file whose name is free."""

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".log", ".json")
"""What such a file may be called: none is run or imported by anything."""

SHARP = (
    *("LoadImage", "SaveImage", "PatchInferer", "NumpyReader", "PersistentDataset", "CacheNTransDataset"),
    *("LMDBDataset", "GDSDataset", "CSVDataset", "CSVIterableDataset", *FREE_NAMES),
)
"""Classes (and what begins with their names) that are known components where their arguments can be read, and so not
where something else calls them."""
