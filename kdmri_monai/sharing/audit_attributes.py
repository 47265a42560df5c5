"""Attributes and methods that an expression may ask of an object that it knows nothing of."""

_NETWORK = """
    to cuda cpu half float double train eval parameters named_parameters modules named_modules children named_children
    buffers state_dict load_state_dict requires_grad_ requires_grad zero_grad training in_features out_features
    in_channels out_channels encoder decoder backbone fc head classifier network student teacher module model
"""
_ENGINE = """
    run attach set_trainer state metrics output batch epoch iteration max_epochs best_metric best_metric_epoch
    key_metric_name optimizer optimizer_ lr_scheduler step last_epoch get_last_lr loss_function inferer
    EPOCH_STARTED EPOCH_COMPLETED ITERATION_STARTED ITERATION_COMPLETED STARTED COMPLETED check image_size store_size
    classes origin uses privileged_keys config value temperature transforms
"""
_TENSOR = """
    shape size dim ndim dtype device type item tolist numpy detach clone contiguous numel sum mean std min max argmax
    argmin any all abs exp log sqrt round clip clamp clamp_ flatten reshape view permute transpose squeeze unsqueeze T
    softmax sigmoid astype long int bool array as_tensor expand repeat cumsum prod is_cuda meta affine pixdim
    index
"""
_DATA = """
    keys values items get pop copy count append extend update add union intersection difference
    data dataset batch_size image label pred mode convert
"""
_TEXT = """
    split rsplit splitlines strip lstrip rstrip lower upper title capitalize replace startswith endswith find
    removeprefix removesuffix isdigit isnumeric isalpha zfill join ljust rjust encode decode strftime isoformat
    name stem suffix parent parents parts as_posix exists is_file is_dir glob rglob with_suffix joinpath resolve
    year month day hour minute second timestamp
"""
ATTRIBUTES = frozenset((_NETWORK + _ENGINE + _TENSOR + _DATA + _TEXT).split())
"""Names without an underscore in front, none of which writes a file, runs a program, imports, or leads to a module."""
