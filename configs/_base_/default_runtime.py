# Every key a run reads besides model, optimizer, scheduler and data. Keys up to `test` are Pointcept's own and mean the
# same under both hosts; those after it are read by the embedded host and ignored by Pointcept.

custom_imports = dict(imports=["pointcept_bsa"], allow_failed_imports=False)

weight = None  # checkpoint to start from, or to test; testing without one takes the best, else the last of save_path
resume = False  # True: go on with the run in save_path (or of `weight`), exactly where it stopped; "weights": a new run
evaluate = True  # evaluate after every epoch
test_only = False

seed = None  # None draws one and records it
save_path = "exp/default"
num_worker = 4  # loading processes over all GPUs; 0 loads in the main process
batch_size = 1  # clouds a batch over all GPUs
batch_size_val = None  # None is 1 a GPU
batch_size_test = None
gradient_accumulation_steps = 1  # batches an iteration

# Length. An epoch is the stretch between two evaluations: there are eval_epoch of them, and the training data are seen
# `epoch` times in all (each pass is repeated epoch // eval_epoch times). max_iters, below, replaces `epoch`.
epoch = 100
eval_epoch = 100

clip_grad = None  # largest norm of the gradient
sync_bn = False
enable_amp = False
amp_dtype = "bfloat16"
empty_cache = False
empty_cache_per_epoch = False
find_unused_parameters = False
enable_wandb = False
mix_prob = 0
param_dicts = None  # e.g. [dict(keyword="sigma", lr_scale=0.1, weight_decay=0.0)]

hooks = [
    dict(type="FitTargetNormalizer"),
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="IterationTimer", warmup_iter=2),
    dict(type="InformationWriter"),
    dict(type="RegressionEvaluator"),
    dict(type="CheckpointSaver", save_freq=None),
    dict(type="PreciseEvaluator", test_last=False),
    dict(type="BoardWriter"),
]
train = dict(type="DefaultTrainer")
test = dict(type="RegressionTester", verbose=True)

# Of the embedded host:
max_iters = None  # stop after exactly so many optimizer iterations, however many passes over the data they take
eval_every = None  # with max_iters: an epoch every so many iterations; None makes eval_epoch epochs of equal length
device = "auto"  # "auto" is CUDA if there is any; "cpu", "cuda"
deterministic = False  # only deterministic operations, an error where there is none
cuda_graph = False  # on CUDA, replay forward and backward as a graph for batches whose shapes come back
parallel = "ddp"  # several processes: "ddp", "flat" (one sum of all gradients), "fsdp2" (parameters in shards)
context_parallel = 1  # processes that share each cloud, a part of its points each; what remains shares out the batch
pad_clouds = None  # ragged data: fill training clouds up to a multiple of so many slots; same loss, few shapes
compile = False  # True: torch.compile each transformer block (minutes at the start); or the name of a backend
log_interval = 50  # iterations between two readings of the losses
save_every = None  # a checkpoint every so many iterations; None: after every epoch only
keep_last = 2  # newest checkpoints kept: a damaged one falls back to the one before
nan_guard = "stop"  # a loss or gradient that is not finite: "stop", "skip" the step, None goes on
ema = None  # dict(decay=0.999): evaluate and test a moving average of the weights, saved beside them
matmul_precision = "highest"  # "high": TF32
search = dict()  # what tools/tune.py searches, see search.py; no part of what a run is
