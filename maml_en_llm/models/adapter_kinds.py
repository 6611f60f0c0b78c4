"""The kinds of adapters in a model, as far as its fast paths depend on them."""

from transformers import PreTrainedModel

# fields of a LoRA that leave it one: where it is, its sizes, how it begins
_FIELDS = """
alpha_pattern auto_mapping base_model_name_or_path bias corda_config
ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode
init_lora_weights layer_replication layers_pattern layers_to_transform loftq_config
lora_alpha lora_bias lora_dropout lora_ga_config megatron_config megatron_core
modules_to_save peft_type peft_version qalora_group_size r rank_pattern revision
runtime_config target_modules task_type trainable_token_indices use_dora use_rslora
"""
_PLAIN = frozenset(_FIELDS.split())


def configs_of(model: PreTrainedModel) -> list:
    """The configuration of each adapter in the model, none where it has none."""
    held = getattr(getattr(model, "_orig_mod", model), "peft_config", None) or {}
    return list(held.values())


def adapters_of(model: PreTrainedModel) -> set[str]:
    """The kinds of adapters in the model, as `peft` calls them; variants of LoRA apart.

    Of learned tokens before the prompt see `virtual_tokens`.
    """
    kinds = set()
    for config in configs_of(model):
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        kinds.add(" ".join([kind, *_changed(config)]) if kind == "LORA" else kind)
        if getattr(config, "trainable_token_indices", None):
            kinds.add("TRAINABLE_TOKENS")
    return kinds


def _changed(config) -> list[str]:
    """Fields of a LoRA that make it another function, such as activated LoRA's."""
    return sorted(name for name, x in vars(config).items() if x and name not in _PLAIN)
