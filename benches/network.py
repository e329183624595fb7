"""The network of docs/SPEC.md, BEATs and the AESA-Net head, in plain PyTorch: what this project's own runtimes and trainer are measured
against. Parameters have their published names, those of the encoder under `beats.`, those of the head under `head.`.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

AXES = ["PQ", "PC", "CE", "CU"]


class Attention(nn.Module):
    """Self-attention with the gated relative position bias."""

    def __init__(self, config, has_table):
        super().__init__()
        dim, self.heads = config["encoder_embed_dim"], config["encoder_attention_heads"]
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.grep_linear = nn.Linear(dim // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))
        if has_table:
            self.relative_attention_bias = nn.Embedding(config["num_buckets"], self.heads)

    def forward(self, x, bias):
        q, k, v = (f(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        gates = self.grep_linear(q).unflatten(3, (2, 4)).sum(-1).sigmoid()
        a, b = gates.chunk(2, dim=-1)
        gate = a * (b * self.grep_a - 1.0) + 2.0
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=gate * bias)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block, post-norm with deep norm."""

    def __init__(self, config, number):
        super().__init__()
        dim, inner = config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]
        self.alpha = (2 * config["encoder_layers"]) ** 0.25
        self.self_attn = Attention(config, has_table=number == 0)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x, bias):
        x = self.self_attn_layer_norm(x * self.alpha + self.self_attn(x, bias))
        return self.final_layer_norm(x * self.alpha + self.fc2(functional.gelu(self.fc1(x))))


class PositionalConvolution(nn.Module):
    """A grouped convolution over tokens, weight norm over the kernel axis."""

    def __init__(self, config):
        super().__init__()
        dim, self.kernel, self.groups = config["encoder_embed_dim"], config["conv_pos"], config["conv_pos_groups"]
        self.weight_g = nn.Parameter(torch.ones(1, 1, self.kernel))
        self.weight_v = nn.Parameter(torch.zeros(dim, dim // self.groups, self.kernel))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        weight = torch._weight_norm(self.weight_v, self.weight_g, 2)
        y = functional.conv1d(x.transpose(1, 2), weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        return functional.gelu(y[:, :, : x.shape[1]]).transpose(1, 2)


class Beats(nn.Module):
    """[B, F, 128] to the outputs of all blocks, [B, T, D] each."""

    def __init__(self, config):
        super().__init__()
        dim, embed_dim, patch = config["encoder_embed_dim"], config["embed_dim"], config["input_patch_size"]
        self.config = config
        self.patch_embedding = nn.Conv2d(1, embed_dim, patch, stride=patch, bias=False)
        self.layer_norm = nn.LayerNorm(embed_dim)
        self.post_extract_proj = nn.Linear(embed_dim, dim) if embed_dim != dim else nn.Identity()
        self.encoder = nn.Module()
        self.encoder.pos_conv = nn.ModuleList([PositionalConvolution(config)])
        self.encoder.layer_norm = nn.LayerNorm(dim)
        self.encoder.layers = nn.ModuleList(Block(config, n) for n in range(config["encoder_layers"]))

    def forward(self, features):
        x = self.patch_embedding(features.unsqueeze(1)).flatten(2).transpose(1, 2)
        x = self.post_extract_proj(self.layer_norm(x))
        x = self.encoder.layer_norm(x + self.encoder.pos_conv[0](x))
        table = self.encoder.layers[0].self_attn.relative_attention_bias
        bias = table(self.buckets(x.shape[1], x.device)).permute(2, 0, 1)
        hidden = []
        for block in self.encoder.layers:
            x = block(x, bias)
            hidden.append(x)
        return hidden

    def buckets(self, num_tokens, device):
        """T5's, by distance key - query: half of them exact, half logarithmic up to max_distance."""
        position = torch.arange(num_tokens, device=device)
        distance = position[None, :] - position[:, None]
        half = self.config["num_buckets"] // 2
        exact = half // 2
        right, distance = (distance > 0) * half, distance.abs()
        ratio = torch.log(distance.float() / exact) / math.log(self.config["max_distance"] / exact)
        large = exact + (ratio * (half - exact)).clamp(min=0).long()
        return right + torch.where(distance < exact, distance, large.clamp(max=half - 1))


class Branch(nn.Module):
    """One axis."""

    def __init__(self, config):
        super().__init__()
        self.attention = nn.MultiheadAttention(config["shared_dim"], config["attention_heads"], batch_first=True)
        self.score = nn.Linear(config["shared_dim"], 1)

    def forward(self, x):
        return self.score(self.attention(x, x, x, need_weights=False)[0])


class Head(nn.Module):
    """Hidden states to token scores, [B, T, 4], 0 to 1."""

    def __init__(self, config, encoder):
        super().__init__()
        dim, layers = encoder["encoder_embed_dim"], encoder["encoder_layers"]
        self.layer_norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.adapter = nn.Linear(dim, config["adapter_dim"])
        self.blstm = nn.LSTM(config["adapter_dim"], config["lstm_dim"], config["lstm_layers"], batch_first=True, bidirectional=True)
        self.shared = nn.Linear(2 * config["lstm_dim"], config["shared_dim"])
        self.branches = nn.ModuleDict({axis: Branch(config) for axis in AXES})

    def forward(self, hidden):
        weights = self.layer_weights.softmax(0)
        x = sum(weight * norm(x) for weight, norm, x in zip(weights, self.layer_norms, hidden, strict=True))
        x = self.shared(self.blstm(self.adapter(x))[0]).relu()
        return torch.cat([branch(x) for branch in self.branches.values()], dim=2).float().sigmoid()


def load(folder):
    """The network of FOLDER/config.json with the weights of FOLDER/weights.safetensors."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    net = nn.ModuleDict({"beats": Beats(config["encoder"]), "head": Head(config["head"], config["encoder"])})
    net.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return net
