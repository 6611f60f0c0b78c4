"""Which model classes take the fast paths. The others take the plain path, told once.

A class has a path if it was measured to give the numbers of its own plain call there,
see `tests/models/all_classes.py`, which goes over every causal LM class of
`transformers`. A class that is not here may be right; nobody has looked.

    twice     attention "twice": eager attention's scores, first and second derivatives
    stacking  `torch.vmap` over stacked parameters, in float32 and float64
    sharing   an explicit mask, given positions and stored keys, with fused attention
    padding   right-padded batches

Adapters in a model have to be known as well, for stacking and for sharing. A model
with parts that are not the library's own (`as_made`) has none of the paths. With a hook
it has "twice" alone, where hooks are called as ever. What is around the whole model
keeps it from stacking.
"""

import warnings
from collections.abc import Collection

import torch
from transformers import PreTrainedModel

from .adapter_kinds import adapters_of
from .as_made import altered_part, foreign_part, wrapped
from .sizes import architecture, text_config, turns_with_length, virtual_tokens

_TABLE = """
AXK1ForCausalLM                               twice          sharing padding
AXK2ForCausalLM                                                      padding
AfmoeForCausalLM                              twice                  padding
ApertusForCausalLM                            twice stacking sharing padding
ArceeForCausalLM                              twice stacking sharing padding
AriaTextForCausalLM                           twice          sharing padding
BambaForCausalLM                                                     padding
BartForCausalLM                                     stacking         padding
BeamForCausalLM                               twice stacking         padding
BertGenerationDecoder                         twice stacking sharing padding
BertLMHeadModel                               twice stacking sharing padding
BigBirdForCausalLM                                  stacking         padding
BigBirdPegasusForCausalLM                           stacking         padding
BioGptForCausalLM                                   stacking sharing padding
BitNetForCausalLM                             twice stacking sharing padding
BlenderbotForCausalLM                               stacking         padding
BlenderbotSmallForCausalLM                          stacking         padding
BloomForCausalLM                                                     padding
CTRLLMHeadModel                               twice stacking sharing padding
CamembertForCausalLM                          twice stacking         padding
CodeGenForCausalLM                                  stacking         padding
Cohere2ForCausalLM                            twice stacking         padding
Cohere2MoeForCausalLM                         twice                  padding
CohereForCausalLM                             twice stacking sharing padding
CwmForCausalLM                                twice stacking         padding
Data2VecTextForCausalLM                       twice stacking         padding
DeepseekV2ForCausalLM                         twice          sharing padding
DeepseekV32ForCausalLM                                               padding
DeepseekV3ForCausalLM                         twice          sharing padding
DeepseekV4ForCausalLM                                                padding
DiffLlamaForCausalLM                          twice stacking sharing padding
DogeForCausalLM                                     stacking sharing padding
Dots1ForCausalLM                              twice          sharing padding
Dots3NoteForCausalLM                                                 padding
ElectraForCausalLM                            twice stacking sharing padding
Ernie4_5ForCausalLM                           twice stacking sharing padding
ErnieForCausalLM                              twice stacking sharing padding
Exaone4ForCausalLM                            twice stacking sharing padding
ExaoneMoeForCausalLM                          twice                  padding
FalconForCausalLM                                   stacking sharing padding
FalconMambaForCausalLM                              stacking         padding
FlexOlmoForCausalLM                           twice          sharing padding
FlintForCausalLM                                    stacking         padding
FuyuForCausalLM                               twice stacking sharing padding
GPT2LMHeadModel                               twice stacking sharing padding
GPTBigCodeForCausalLM                         twice stacking sharing padding
GPTJForCausalLM                                     stacking         padding
GPTNeoForCausalLM                                   stacking         padding
GPTNeoXForCausalLM                            twice stacking sharing padding
GPTNeoXJapaneseForCausalLM                          stacking         padding
Gemma2ForCausalLM                                   stacking         padding
Gemma3ForCausalLM                             twice stacking         padding
Gemma3ForConditionalGeneration                twice          sharing padding
Gemma4ForCausalLM                             twice stacking         padding
Gemma4UnifiedForCausalLM                      twice stacking         padding
GemmaForCausalLM                              twice stacking sharing padding
GitForCausalLM                                      stacking         padding
Glm4ForCausalLM                               twice stacking sharing padding
Glm4MoeForCausalLM                            twice          sharing padding
Glm4MoeLiteForCausalLM                        twice          sharing padding
GlmForCausalLM                                twice stacking sharing padding
GlmMoeDsaForCausalLM                                                 padding
GotOcr2ForConditionalGeneration               twice stacking         padding
GptOssForCausalLM                                                    padding
GraniteForCausalLM                            twice stacking sharing padding
GraniteMoeForCausalLM                         twice          sharing padding
GraniteMoeHybridForCausalLM                   twice                  padding
GraniteMoeSWAForCausalLM                                             padding
GraniteMoeSharedForCausalLM                   twice          sharing padding
GraniteSWAForCausalLM                               stacking         padding
HYV3ForCausalLM                               twice          sharing padding
HYV4ForCausalLM                                                      padding
HeliumForCausalLM                             twice stacking sharing padding
HrmTextForCausalLM                            twice stacking sharing padding
HunYuanDenseV1ForCausalLM                     twice stacking sharing padding
HunYuanMoEV1ForCausalLM                       twice          sharing padding
HyperCLOVAXForCausalLM                        twice stacking sharing padding
InklingForCausalLM                                                   padding
Jais2ForCausalLM                              twice stacking sharing padding
JambaForCausalLM                                                     padding
JetMoeForCausalLM                             twice          sharing padding
Kolibri1ForCausalLM                           twice                  padding
LagunaForCausalLM                             twice                  padding
Lfm2ForCausalLM                               twice                  padding
Lfm2MoeForCausalLM                            twice                  padding
Lfm3ForCausalLM                               twice                  padding
Llama4ForCausalLM                             twice stacking         padding
LlamaForCausalLM                              twice stacking sharing padding
MBartForCausalLM                                    stacking         padding
Mamba2ForCausalLM                                                    padding
MambaForCausalLM                                    stacking         padding
MarianForCausalLM                                   stacking         padding
MegatronBertForCausalLM                             stacking         padding
MellumForCausalLM                             twice          sharing padding
MiMoV2FlashForCausalLM                                               padding
MiniCPM3ForCausalLM                           twice stacking sharing padding
MiniMaxForCausalLM                            twice                  padding
MiniMaxM2ForCausalLM                          twice          sharing padding
MiniMaxM3VLForCausalLM                        twice          sharing padding
Ministral3ForCausalLM                         twice stacking sharing padding
MinistralForCausalLM                          twice stacking         padding
MistralForCausalLM                            twice stacking sharing padding
MixtralForCausalLM                            twice          sharing padding
MllamaForCausalLM                             twice stacking sharing padding
ModernBertDecoderForCausalLM                  twice stacking         padding
MoshiForCausalLM                              twice stacking         padding
MossTranscribeDiarizeForConditionalGeneration twice stacking sharing padding
MptForCausalLM                                      stacking         padding
MvpForCausalLM                                      stacking         padding
NanoChatForCausalLM                           twice stacking sharing padding
NemotronForCausalLM                           twice stacking sharing padding
NemotronHForCausalLM                                                 padding
OPTForCausalLM                                twice stacking sharing padding
Olmo2ForCausalLM                              twice stacking sharing padding
Olmo3ForCausalLM                              twice stacking         padding
OlmoForCausalLM                               twice stacking sharing padding
OlmoHybridForCausalLM                                                padding
OlmoeForCausalLM                              twice          sharing padding
OpenAIGPTLMHeadModel                                stacking         padding
PLBartForCausalLM                                   stacking         padding
PegasusForCausalLM                                  stacking         padding
PersimmonForCausalLM                          twice stacking sharing padding
Phi3ForCausalLM                               twice stacking sharing padding
Phi4MultimodalForCausalLM                     twice stacking sharing padding
PhiForCausalLM                                twice stacking sharing padding
PhimoeForCausalLM                             twice          sharing padding
Qwen2ForCausalLM                              twice stacking sharing padding
Qwen2MoeForCausalLM                           twice          sharing padding
Qwen3ForCausalLM                              twice stacking sharing padding
Qwen3MoeForCausalLM                           twice          sharing padding
Qwen3NextForCausalLM                                                 padding
Qwen3_5ForCausalLM                                                   padding
Qwen3_5MoeForCausalLM                                                padding
RecurrentGemmaForCausalLM                     twice                  padding
ReformerModelWithLMHead                                              padding
RemBertForCausalLM                                  stacking         padding
RoFormerForCausalLM                                 stacking         padding
RobertaForCausalLM                            twice stacking         padding
RobertaPreLayerNormForCausalLM                twice stacking         padding
RwkvForCausalLM                                     stacking         padding
SeedOssForCausalLM                            twice stacking sharing padding
SmolLM3ForCausalLM                            twice stacking sharing padding
SolarOpenForCausalLM                          twice          sharing padding
StableLmForCausalLM                                 stacking sharing padding
Starcoder2ForCausalLM                         twice stacking sharing padding
TrOCRForCausalLM                                    stacking         padding
VaultGemmaForCausalLM                               stacking         padding
WhisperForCausalLM                                  stacking         padding
XLMRobertaForCausalLM                         twice stacking         padding
XLMRobertaXLForCausalLM                       twice stacking         padding
XLNetLMHeadModel                                    stacking         padding
YoutuForCausalLM                              twice stacking sharing padding
ZambaForCausalLM                                                     padding
"""
_PATHS = {
    line.split()[0]: set(line.split()[1:]) for line in _TABLE.splitlines() if line
}

# Kinds of adapters (`peft`) that were measured so inside Llama and, where they go in,
# GPT-2. Not LILY, which averages over rows, nor variants of LoRA that compute otherwise
_STACKING = """
ADALORA ADAPTION_PROMPT BEFT BOFT DEFT DELORA GLORA GRALORA HIRA HRA IA3 LN_TUNING LOKR
LORA MISS OSF PEANUT PSOFT PVERA ROAD SUPERTUNING TRAINABLE_TOKENS VERA
"""
_SHARING_ALONE = """
C3A FOURIERFT FROD LOHA OFT RANDLORA SHIRA TINYLORA UNILORA VBLORA WAVEFT
"""
_ADAPTERS = {
    "stacking": frozenset(_STACKING.split()),
    "sharing": frozenset(f"{_STACKING} {_SHARING_ALONE}".split()),
}


def classes_with(path: str) -> frozenset[str]:
    """Names of the classes that are known to be right on a path of the table."""
    return frozenset(name for name, paths in _PATHS.items() if path in paths)


def takes_twice(model: PreTrainedModel) -> bool:
    """Whether attention "twice" is known to be right for the model's class."""
    return "twice" in _paths(model) and not foreign_part(model)


def stacks(model: PreTrainedModel) -> bool:
    """Whether the model is known to run over stacked parameters."""
    if turns_with_length(model) or any(virtual_tokens(model)):
        return False
    # "eager" attention, which a stack needs, takes most softmaxes in float32
    double = model.dtype == torch.float64
    if double and architecture(model) != "GPT2LMHeadModel":
        return False
    if getattr(text_config(model), "reorder_and_upcast_attn", False):  # float32 alone
        return False
    kinds = adapters_of(model)
    if "TRAINABLE_TOKENS" in kinds and text_config(model).tie_word_embeddings:
        return False
    known = _has(model, "stacking") and not wrapped(model)
    return known and kinds <= _ADAPTERS["stacking"]


def shares(model: PreTrainedModel) -> bool:
    """Whether the model is known to score a trie of prompts as their rows.

    Not with ALiBi, which "sdpa" adds at another place (Falcon).
    """
    if turns_with_length(model) or any(virtual_tokens(model)):
        return False
    if getattr(text_config(model), "alibi", False) or _repeats_layers(model):
        return False
    return _has(model, "sharing") and adapters_of(model) <= _ADAPTERS["sharing"]


def _repeats_layers(model: PreTrainedModel) -> bool:
    """Whether two layers store their keys in one place: one layer twice, or a copy."""
    for layers in model.modules():
        if isinstance(layers, torch.nn.ModuleList):
            places = [_place_of(layer) for layer in layers]
            places = [place for place in places if place is not None]
            if len(places) != len(set(places)):
                return True
    return False


def _place_of(layer: torch.nn.Module) -> int | None:
    found = (getattr(module, "layer_idx", None) for module in layer.modules())
    return next((place for place in found if isinstance(place, int)), None)


def pads(model: PreTrainedModel) -> bool:
    """Whether the model is known to give padded rows their own scores."""
    return _has(model, "padding") and not turns_with_length(model)


def _has(model: PreTrainedModel, path: str) -> bool:
    return path in _paths(model) and not altered_part(model)


def _paths(model: PreTrainedModel) -> Collection[str]:
    return _PATHS.get(architecture(model), ())


def known_as(model: PreTrainedModel) -> str:
    """The model's class, adapters and first altered part, as messages name them."""
    parts = sorted(adapters_of(model))
    if altered := altered_part(model) or wrapped(model):
        parts.append(altered)
    return f"{architecture(model)}{' with ' if parts else ''}{', '.join(parts)}"


_warned: set[tuple[str, str]] = set()


def say_once(key: str, subject: str, message: str) -> None:
    """Warn with ``message``, once in a process for ``key`` and ``subject``."""
    if (key, subject) not in _warned:
        _warned.add((key, subject))
        warnings.warn(message, stacklevel=3)
