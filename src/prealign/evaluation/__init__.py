"""Evaluation: an evaluator is data and settings; called on a causal LM, it returns scores and statistics per item.

    lm.perplexity.Perplexity                      perplexity and bits per byte of documents; by kind of word
    lm.mixing.LanguageMixing                      probability and written words of other languages than the text's
    retrieval.words.WordRetrieval                 word pairs, seen and held-out, per layer
    retrieval.dictionary.DictionaryRetrieval      words of a test dictionary among a vocabulary (BLI), per layer and stratum
    retrieval.sentences.SentenceRetrieval         parallel sentences: P@1 and MEXA, per layer
    knowledge.questions.KnowledgeQuestions        candidates of questions about facts, ranked in each language
    transfer.transfer.Transfer                    a classifier fine-tuned in one language, tested in all

Models and tokenizers are those of `AutoModelForCausalLM` and `AutoTokenizer`. Import from the modules: nothing is imported
here, so `prealign.evaluation.statistics` needs no torch.
"""
